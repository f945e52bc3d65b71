"""An experiment: a checked config with the objects that it describes, made once."""

from typing import NamedTuple

from lightning import LightningDataModule
from omegaconf import DictConfig

from kd_lightning.data import DataModule
from kd_lightning.data.derived.module import as_data_module
from kd_lightning.errors import UserError
from kd_lightning.experiment.config import plain
from kd_lightning.experiment.networks.instantiation import make
from kd_lightning.experiment.networks.network import Network
from kd_lightning.experiment.networks.student import Student
from kd_lightning.experiment.networks.teacher import Teacher
from kd_lightning.experiment.recipe import has_scratch


class Experiment(NamedTuple):
    """A config, and what it says of data, student and teacher."""

    config: DictConfig
    data: DataModule
    student: Student
    teacher: Teacher

    def trained_alone(self) -> list[Network]:
        return trained_alone(self.config, self.student, self.teacher)


def trained_alone(config: DictConfig, student: Student, teacher: Teacher) -> list[Network]:
    """The networks that are trained by themselves, once for all runs: the teacher's, and the student for comparison."""
    learned_from = [network for network in teacher.networks().values() if network.is_trained_first]
    return [*learned_from, student] if teacher.exists and has_scratch(config) else learned_from


def data_of(config: DictConfig) -> DataModule:
    """The data module of a config, which has read nothing yet. Raises `UserError` for what is none."""
    made: object = make(config.data, "data")
    if not isinstance(made, LightningDataModule):
        raise UserError(
            f"data._target_={config.data.get('_target_')}: makes {type(made).__name__}, no data module; make it a "
            "subclass of lightning.LightningDataModule"
        )
    return as_data_module(made, plain(config.data))
