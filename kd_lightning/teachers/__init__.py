"""Teachers: whatever maps a batch to signals without gradients."""

from kd_lightning.teachers.base import Teacher
from kd_lightning.teachers.frozen import FrozenTeacher

__all__ = ["FrozenTeacher", "Teacher"]
