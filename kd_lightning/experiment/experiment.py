"""An experiment: a checked config with the objects that it describes, made once."""

from typing import NamedTuple

from omegaconf import DictConfig

from kd_lightning.data import ImageDataModule
from kd_lightning.experiment.networks.student import Student
from kd_lightning.experiment.networks.teacher import Teacher


class Experiment(NamedTuple):
    """A config, and what it says of data, student and teacher."""

    config: DictConfig
    data: ImageDataModule
    student: Student
    teacher: Teacher
