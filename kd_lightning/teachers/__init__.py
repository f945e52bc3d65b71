"""What a teacher can be: nothing, a network, an ensemble of networks, a source of the user's own."""

from kd_lightning.teachers.ensemble import EnsembleTeacher
from kd_lightning.teachers.meta import MetaTeacher
from kd_lightning.teachers.network import FrozenTeacher, NetworkTeacher, NoTeacher
from kd_lightning.teachers.own import OwnTeacher
from kd_lightning.teachers.route import RouteTeacher
from kd_lightning.teachers.student_alone import StudentAlone
from kd_lightning.teachers.teacher import Teacher

__all__ = [
    "EnsembleTeacher",
    "FrozenTeacher",
    "MetaTeacher",
    "NetworkTeacher",
    "NoTeacher",
    "OwnTeacher",
    "RouteTeacher",
    "StudentAlone",
    "Teacher",
]
