"""Losses: small modules that take tensors and return a scalar, each over a pure function in `functional`.

A loss that is a mean over samples takes `reduction`, `mean` or `none`, as its function does; where some samples do not
count, its method `counted` says which do. One that compares the samples of a batch says `per_sample = False`.
One that serves certain outputs alone says in `outputs` which: `classes`, of which a sample has one, `labels`, of which
it has any number, or `numbers`. One that matches the teacher's soft targets says `soft_target = True`, one by
which a network learns from its own answers, or from labels softened by hand, `teaches_itself = True`, one over all
peers at once `all_at_once = True`.
"""

from kd_lightning.losses import functional
from kd_lightning.losses.features.boundaries import OFD, ActivationBoundary
from kd_lightning.losses.features.classifiers import CATKD, SRRL, SimKD
from kd_lightning.losses.features.factors import FactorTransfer, Paraphrase
from kd_lightning.losses.features.maps import FSP, NST, AttentionTransfer, FitNet
from kd_lightning.losses.features.review import ReviewKD
from kd_lightning.losses.features.variational import VID
from kd_lightning.losses.logits.decoupled import DKD
from kd_lightning.losses.logits.multi_label import BernoulliKD, BinaryCrossEntropy
from kd_lightning.losses.logits.multi_level import MLKD
from kd_lightning.losses.logits.one_for_all import OFA
from kd_lightning.losses.logits.pearson import DIST
from kd_lightning.losses.logits.regression import MeanAbsoluteError, MeanSquaredError, RegressionKD
from kd_lightning.losses.logits.standardization import LogitStandardization
from kd_lightning.losses.logits.targets import WSLD, CrossEntropy, HardLabel, MeanSquaredLogits, SoftTarget
from kd_lightning.losses.logits.temperature import CurriculumTemperature
from kd_lightning.losses.peers.collaborative import KDCL
from kd_lightning.losses.peers.contrast import MCL
from kd_lightning.losses.relations.contrastive import CRD
from kd_lightning.losses.relations.similarities import (
    PKT,
    RKD,
    CorrelationCongruenceAdjacent,
    CorrelationCongruenceKernel,
    SimilarityPreserving,
)
from kd_lightning.losses.self_distillation.class_wise import CSKD
from kd_lightning.losses.self_distillation.early_heads import BYOT
from kd_lightning.losses.self_distillation.soft_labels import PSKD, USKD, VirtualTeacher
from kd_lightning.losses.self_distillation.two_views import DDGSD, MeanDiscrepancy
from kd_lightning.losses.teachers.confidence import CAMKD
from kd_lightning.losses.teachers.perturbed import TeKAP

__all__ = [
    "BYOT",
    "CAMKD",
    "CATKD",
    "CRD",
    "CSKD",
    "DDGSD",
    "DIST",
    "DKD",
    "FSP",
    "KDCL",
    "MCL",
    "MLKD",
    "NST",
    "OFA",
    "OFD",
    "PKT",
    "PSKD",
    "RKD",
    "SRRL",
    "USKD",
    "VID",
    "WSLD",
    "ActivationBoundary",
    "AttentionTransfer",
    "BernoulliKD",
    "BinaryCrossEntropy",
    "CorrelationCongruenceAdjacent",
    "CorrelationCongruenceKernel",
    "CrossEntropy",
    "CurriculumTemperature",
    "FactorTransfer",
    "FitNet",
    "HardLabel",
    "LogitStandardization",
    "MeanAbsoluteError",
    "MeanDiscrepancy",
    "MeanSquaredError",
    "MeanSquaredLogits",
    "Paraphrase",
    "RegressionKD",
    "ReviewKD",
    "SimKD",
    "SimilarityPreserving",
    "SoftTarget",
    "TeKAP",
    "VirtualTeacher",
    "functional",
]
