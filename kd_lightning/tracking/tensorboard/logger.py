"""What TensorBoard shows of a training beside its scalars."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from kd_lightning.runs.curriculum import Told
from kd_lightning.terminal import warn
from kd_lightning.tracking.markdown import as_text
from kd_lightning.tracking.outcome import Outcome

PLAIN = (bool, int, float, str)


@rank_zero_only
def log_config(logger: TensorBoardLogger, config: Mapping[str, Any], compared: Sequence[str]) -> None:
    """The config in HPARAMS, beside the scalars that it led to and is compared by.

    Lightning's own way would begin the curves of these scalars with a point that nobody measured.
    """
    from torch.utils.tensorboard.summary import hparams

    plain = {name: value if isinstance(value, PLAIN) else str(value) for name, value in config.items()}
    for summary in hparams(plain, dict.fromkeys(compared, 0.0)):
        logger.experiment._get_file_writer().add_summary(summary)
    logger.hparams.update(plain)  # for hparams.yaml


@rank_zero_only
def log_outcome(logger: TensorBoardLogger, outcome: Outcome) -> None:
    """The comparison as a text, confusion matrix and reliability diagram as figures."""
    board = logger.experiment
    if outcome.networks:
        board.add_text("comparison", markdown(["network", *outcome.columns()], outcome.table()))
    try:
        from kd_lightning.tracking.tensorboard import figures
    except ModuleNotFoundError as missing:
        warn(f'{missing}; TensorBoard has no figures; pip install "kd-lightning[tensorboard]"')
        return
    if (found := outcome.confusions()) is not None:
        board.add_figure("confusion_matrix", figures.confusion_figure(found, outcome.class_names()))
    if "bins" in outcome.arrays:
        board.add_figure("reliability", figures.reliability_figure(*outcome.reliability()))
    board.flush()


@rank_zero_only
def log_decisions(logger: TensorBoardLogger, decisions: Sequence[str], step: int) -> None:
    """What a curriculum decided as an epoch began, as a text."""
    if decisions:
        logger.experiment.add_text("curriculum/decisions", "\n".join(f"- {as_text(one)}" for one in decisions), step)


@rank_zero_only
def log_concepts(logger: TensorBoardLogger, told: Told) -> None:
    """The accuracy on each concept of a curriculum over the epochs, as a figure."""
    if not told.latest:
        return
    try:
        from kd_lightning.tracking.tensorboard import figures
    except ModuleNotFoundError as missing:
        warn(f'{missing}; TensorBoard has no figures; pip install "kd-lightning[tensorboard]"')
        return
    logger.experiment.add_figure("curriculum/concepts", figures.concepts_figure(told))
    logger.experiment.flush()


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["-"] * len(columns), *[[as_text(_text(value)) for value in cells] for cells in rows]]
    return "\n".join("|" + "|".join(line) + "|" for line in lines)


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
