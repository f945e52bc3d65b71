"""Losses: small modules that take tensors and return a scalar, each over a pure function in `functional`."""

from kd_lightning.losses import functional
from kd_lightning.losses.boundaries import OFD, ActivationBoundary
from kd_lightning.losses.classifiers import CATKD, SRRL, SimKD
from kd_lightning.losses.contrastive import CRD
from kd_lightning.losses.factors import FactorTransfer, Paraphrase
from kd_lightning.losses.features import FSP, NST, AttentionTransfer, FitNet
from kd_lightning.losses.logits import DIST, DKD, WSLD, CrossEntropy, HardLabel, MeanSquaredLogits, SoftTarget
from kd_lightning.losses.logits_composed import MLKD, CurriculumTemperature, LogitStandardization
from kd_lightning.losses.ofa import OFA
from kd_lightning.losses.relations import (
    PKT,
    RKD,
    CorrelationCongruenceAdjacent,
    CorrelationCongruenceKernel,
    SimilarityPreserving,
)
from kd_lightning.losses.review import ReviewKD
from kd_lightning.losses.variational import VID

__all__ = [
    "CATKD",
    "CRD",
    "DIST",
    "DKD",
    "FSP",
    "MLKD",
    "NST",
    "OFA",
    "OFD",
    "PKT",
    "RKD",
    "SRRL",
    "VID",
    "WSLD",
    "ActivationBoundary",
    "AttentionTransfer",
    "CorrelationCongruenceAdjacent",
    "CorrelationCongruenceKernel",
    "CrossEntropy",
    "CurriculumTemperature",
    "FactorTransfer",
    "FitNet",
    "HardLabel",
    "LogitStandardization",
    "MeanSquaredLogits",
    "Paraphrase",
    "ReviewKD",
    "SimKD",
    "SimilarityPreserving",
    "SoftTarget",
    "functional",
]
