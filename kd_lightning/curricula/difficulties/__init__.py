"""Difficulties: a number for each training sample, given, asked of a teacher, or learned as the student trains."""

from kd_lightning.curricula.difficulties.asked import (
    Asked,
    TeacherConfidence,
    TeacherEntropy,
    TeacherLoss,
    TeacherMargin,
)
from kd_lightning.curricula.difficulties.bandits import Bandit, BetaFlips, UpperConfidence
from kd_lightning.curricula.difficulties.difficulty import Difficulty
from kd_lightning.curricula.difficulties.dynamic import DynamicHardness
from kd_lightning.curricula.difficulties.given import FromData, FromFile
from kd_lightning.curricula.difficulties.running import Disagreement, Flips, Running, StudentLoss

__all__ = [
    "Asked",
    "Bandit",
    "BetaFlips",
    "Difficulty",
    "Disagreement",
    "DynamicHardness",
    "Flips",
    "FromData",
    "FromFile",
    "Running",
    "StudentLoss",
    "TeacherConfidence",
    "TeacherEntropy",
    "TeacherLoss",
    "TeacherMargin",
    "UpperConfidence",
]
