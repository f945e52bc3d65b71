"""An experiment: a checked config with the objects that it describes, made once."""

from typing import NamedTuple

from lightning import LightningDataModule
from omegaconf import DictConfig

from kd_lightning.data import DataModule
from kd_lightning.data.derived.module import as_data_module
from kd_lightning.errors import UserError
from kd_lightning.experiment.config import plain
from kd_lightning.experiment.networks.instantiation import make
from kd_lightning.experiment.networks.student import Student
from kd_lightning.experiment.networks.teacher import Teacher


class Experiment(NamedTuple):
    """A config, and what it says of data, student and teacher."""

    config: DictConfig
    data: DataModule
    student: Student
    teacher: Teacher


def data_of(config: DictConfig) -> DataModule:
    """The data module of a config, which has read nothing yet. Raises `UserError` for what is none."""
    made: object = make(config.data, "data")
    if not isinstance(made, LightningDataModule):
        raise UserError(
            f"data._target_={config.data.get('_target_')}: makes {type(made).__name__}, no data module; make it a "
            "subclass of lightning.LightningDataModule"
        )
    return as_data_module(made, plain(config.data))
