"""What Weights & Biases shows of a curriculum: its decisions and concepts as tables, its pictures."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from kd_lightning.runs.curriculum import Told


@rank_zero_only
def log(logger: WandbLogger, told: Told, pictures: Mapping[str, Mapping[str, Any]]) -> None:
    """Log what a curriculum told into the logger's run; `pictures` are in plotly's JSON schema, by name."""
    import plotly.graph_objects as go
    import wandb

    shown: dict[str, Any] = {name: wandb.Plotly(go.Figure(dict(made))) for name, made in pictures.items()}
    decisions = [[one.epoch, ", ".join(one.teaches), text] for one in told.epochs for text in one.decisions]
    if decisions:
        shown["decisions"] = wandb.Table(columns=["epoch", "teaches", "decision"], data=decisions)
    concepts = [
        [one.epoch, name, value, name in one.teaches] for one in told.epochs for name, value in one.concepts.items()
    ]
    if concepts:
        shown["concepts"] = wandb.Table(columns=["epoch", "concept", "accuracy", "taught"], data=concepts)
    if shown:
        logger.experiment.log({f"curriculum/{name}": one for name, one in shown.items()})
