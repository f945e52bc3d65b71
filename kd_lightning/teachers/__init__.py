"""Teachers: whatever maps a batch to signals without gradients."""

from kd_lightning.teachers.base import LogitsOf, Teacher
from kd_lightning.teachers.cached import CachedTeacher
from kd_lightning.teachers.frozen import FrozenTeacher

__all__ = ["CachedTeacher", "FrozenTeacher", "LogitsOf", "Teacher"]
