"""Sources: whatever maps a batch to signals; and networks that are rebuilt around another one."""

from kd_lightning.sources.base import LogitsOf, Teacher
from kd_lightning.sources.bias_free import bias_free_classifier
from kd_lightning.sources.cached import CachedTeacher
from kd_lightning.sources.frozen import FrozenTeacher
from kd_lightning.sources.reused_classifier import ReusedClassifier

__all__ = ["CachedTeacher", "FrozenTeacher", "LogitsOf", "ReusedClassifier", "Teacher", "bias_free_classifier"]
