"""Curricula: which samples a training sees when. The base class, and how a training follows one."""

from kd_lightning.curricula.curriculum import Curriculum, Samples
from kd_lightning.schedules.progress import Assessment

__all__ = ["Assessment", "Curriculum", "Samples"]
