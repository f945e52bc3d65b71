"""What a teacher can be: nothing, a network, an ensemble of networks, a source of the user's own."""

from kd_lightning.experiment.networks.teacher import Teacher
from kd_lightning.experiment.teachers.ensemble import EnsembleTeacher
from kd_lightning.experiment.teachers.made import teacher_of
from kd_lightning.experiment.teachers.network import FrozenTeacher, NetworkTeacher
from kd_lightning.experiment.teachers.own import OwnTeacher

__all__ = ["EnsembleTeacher", "FrozenTeacher", "NetworkTeacher", "OwnTeacher", "Teacher", "teacher_of"]
