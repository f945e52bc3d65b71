"""Plans: which trainings and conversions follow which, and what each takes from those before."""

from kd_lightning.plans.assistants import Assistants
from kd_lightning.plans.blocks import Blocks
from kd_lightning.plans.born_again import BornAgain
from kd_lightning.plans.distillation import Distillation
from kd_lightning.plans.mutual import Mutual
from kd_lightning.plans.plan import Parts, Plan, Steps
from kd_lightning.plans.route import Route
from kd_lightning.plans.stages import Stages
from kd_lightning.runs.summary import Role
from kd_lightning.training.steps import Convert, Learner, Mean, Trained, Training

__all__ = [
    "Assistants",
    "Blocks",
    "BornAgain",
    "Convert",
    "Distillation",
    "Learner",
    "Mean",
    "Mutual",
    "Parts",
    "Plan",
    "Role",
    "Route",
    "Stages",
    "Steps",
    "Trained",
    "Training",
]
