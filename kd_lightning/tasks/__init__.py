"""What good means: a task's metrics with their direction, its columns, and what its predictions tell."""

from kd_lightning.columns import Column
from kd_lightning.tasks.classification import Classification
from kd_lightning.tasks.dense import SemanticSegmentation, TokenClassification
from kd_lightning.tasks.multi_label import MultiLabel
from kd_lightning.tasks.regression import Regression
from kd_lightning.tasks.task import Task

__all__ = [
    "Classification",
    "Column",
    "MultiLabel",
    "Regression",
    "SemanticSegmentation",
    "Task",
    "TokenClassification",
]
