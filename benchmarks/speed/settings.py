"""What is trained in all measurements: pairs on CIFAR-100, with soft targets."""

from typing import NamedTuple

BATCH_SIZE = 64
TEMPERATURE = 4.0
ALPHA = 0.9  # of the soft targets; the labels weigh 1 - ALPHA
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 5e-4


class Pair(NamedTuple):
    """A teacher with random weights, which cost as much as trained ones, and a student."""

    teacher: str
    student: str

    def __str__(self) -> str:
        return f"{self.teacher} → {self.student}"


LARGE_TEACHER = Pair("ResNet50", "MobileNetV2")  # a pair of the papers' whose training is almost all teacher
PAIRS = (Pair("resnet32x4", "resnet8x4"), Pair("resnet56", "resnet20"), Pair("wrn_40_2", "wrn_16_2"))
