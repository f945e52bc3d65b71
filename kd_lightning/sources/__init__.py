"""Sources: whatever maps a batch to signals; and networks that are rebuilt around another one."""

from kd_lightning.sources.blockwise import BlockwiseTeacher
from kd_lightning.sources.cached import CachedSource
from kd_lightning.sources.ensemble import Ensemble
from kd_lightning.sources.frozen import FrozenNetwork
from kd_lightning.sources.learner import Learner
from kd_lightning.sources.meta.network import MetaNetwork
from kd_lightning.sources.moving_average import MovingAverage
from kd_lightning.sources.rebuilt.bias_free import bias_free_classifier
from kd_lightning.sources.rebuilt.reused_classifier import ReusedClassifier
from kd_lightning.sources.route import Anchor, Mastery, Route
from kd_lightning.sources.source import FrozenSource, LogitsOf, Source, Step, UntrainedSource

__all__ = [
    "Anchor",
    "BlockwiseTeacher",
    "CachedSource",
    "Ensemble",
    "FrozenNetwork",
    "FrozenSource",
    "Learner",
    "LogitsOf",
    "Mastery",
    "MetaNetwork",
    "MovingAverage",
    "ReusedClassifier",
    "Route",
    "Source",
    "Step",
    "UntrainedSource",
    "bias_free_classifier",
]
