"""What good means: a task's metrics with their direction, its columns, and what its predictions tell."""

from kd_lightning.columns import Column
from kd_lightning.tasks.classification import Classification
from kd_lightning.tasks.task import Task

__all__ = ["Classification", "Column", "Task"]
