"""What Weights & Biases shows of a finished training: summary, tables, charts, the result as an artifact."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from kd_lightning import __version__
from kd_lightning.tracking.confusions import Confusions
from kd_lightning.tracking.outcome import Outcome

CELLS = 10_000  # rows of a table that the page still shows
OF_THE_CONFIG = ("temperature", "alpha", "seed")


@rank_zero_only
def log(logger: WandbLogger, outcome: Outcome) -> None:
    """Log an outcome's tables, charts, metrics and weights into the logger's run."""
    import wandb

    run: Any = logger.experiment
    shown: dict[str, Any] = {}
    if outcome.networks:
        shown["comparison"] = wandb.Table(columns=["network", *outcome.columns()], data=outcome.table())
    if (found := outcome.confusions()) is not None:
        shown["confusion_matrix"] = confusion_chart(found, outcome.class_names())
    if "bins" in outcome.arrays:
        confidence, accuracy = outcome.reliability()
        lines, keys = [accuracy, confidence], ["this network", "calibrated"]
        shown["reliability"] = wandb.plot.line_series(confidence, lines, keys, "Reliability: accuracy", "confidence")
    if shown:
        run.log(shown)
    run.summary.update(outcome.metrics)
    if outcome.weights is not None:
        run.log_artifact(artifact_of(outcome, outcome.weights, dict(run.config)))


def confusion_chart(found: Confusions, class_names: Sequence[str]) -> Any:
    """The page's own confusion matrix; of many classes a table of the commonest confusions."""
    import wandb

    columns = ["Actual", "Predicted", "nPredictions"]
    whole = found.num_classes**2 <= CELLS
    if whole:
        counts = found.counts(range(found.num_classes))
        cells = [(*pair, int(counts[pair])) for pair in np.ndindex(*counts.shape)]
    else:
        cells = found.wrong[:CELLS].tolist()
    rows = [[class_names[true], class_names[predicted], images] for true, predicted, images in cells]
    table = wandb.Table(columns=[*columns], data=rows)
    if not whole:
        return table
    fields = {name: name for name in columns}
    return wandb.plot_table("wandb/confusion_matrix/v1", table, fields, {"title": "Confusion matrix"})


def artifact_of(outcome: Outcome, weights: Path, config: dict[str, Any]) -> Any:
    """The result's weights; each training of the same model on the same data makes a version of it."""
    import wandb

    result, compared = outcome.networks[outcome.result], outcome.compared
    metadata = {
        "model": result["model"],
        "data": outcome.data,
        **({one.name: result.get(one.name) for one in (compared.test, compared.validation)} if compared else {}),
        **{name: outcome.networks[name]["model"] for name in outcome.learned_from},
        **{name: config.get(name) for name in OF_THE_CONFIG},
        "kd_lightning": __version__,
    }
    name = re.sub(r"[^\w.-]+", "-", f"{result['model']}-{outcome.data}")
    artifact = wandb.Artifact(name, type="model", metadata=metadata)
    artifact.add_file(str(weights), name=weights.name)
    return artifact
