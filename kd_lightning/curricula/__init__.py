"""Curricula: which samples a training sees when. The base class, the one of an order and a pace, and its parts."""

from kd_lightning.curricula.concepts import Concepts
from kd_lightning.curricula.curriculum import Account, Curriculum, Samples
from kd_lightning.curricula.difficulties import (
    Asked,
    Difficulty,
    Disagreement,
    DynamicHardness,
    Flips,
    FromData,
    FromFile,
    Running,
    StudentLoss,
    TeacherConfidence,
    TeacherEntropy,
    TeacherLoss,
    TeacherMargin,
)
from kd_lightning.curricula.orders import EasyFirst, HardFirst, RandomOrder, SampledHard, SampleOrder
from kd_lightning.curricula.paced import Paced
from kd_lightning.curricula.paces import (
    BabySteps,
    Exponential,
    Linear,
    Logarithmic,
    Pace,
    Quadratic,
    Root,
    Shrinking,
    Step,
)
from kd_lightning.schedules.progress import Assessment

__all__ = [
    "Account",
    "Asked",
    "Assessment",
    "BabySteps",
    "Concepts",
    "Curriculum",
    "Difficulty",
    "Disagreement",
    "DynamicHardness",
    "EasyFirst",
    "Exponential",
    "Flips",
    "FromData",
    "FromFile",
    "HardFirst",
    "Linear",
    "Logarithmic",
    "Pace",
    "Paced",
    "Quadratic",
    "RandomOrder",
    "Root",
    "Running",
    "SampleOrder",
    "SampledHard",
    "Samples",
    "Shrinking",
    "Step",
    "StudentLoss",
    "TeacherConfidence",
    "TeacherEntropy",
    "TeacherLoss",
    "TeacherMargin",
]
