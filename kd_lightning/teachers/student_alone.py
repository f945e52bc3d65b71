"""The student itself, trained alone before, as what it learns from."""

from collections.abc import Mapping

from torch import nn

from kd_lightning.batch import Input
from kd_lightning.data import DataModule
from kd_lightning.networks import Network
from kd_lightning.teachers.teacher import Teacher


class StudentAlone(Teacher):
    """Tells what a network of the student's kind gives, where a plan has the student trained alone teach.

    The plan yields that training itself; this is what its terms are checked with.
    """

    exists = True
    key = "student.model"

    def __init__(self, student: Network) -> None:
        self.student = student
        self.name = student.name

    def networks(self) -> Mapping[str, Network]:
        return {"": self.student}

    def like(self, data: DataModule, example: Input) -> nn.Module:
        return self.student.like(data, example)
