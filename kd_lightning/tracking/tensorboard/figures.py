"""A finished network's confusion matrix and reliability diagram, and a curriculum's concepts, drawn by matplotlib."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from kd_lightning.runs.curriculum import Told
from kd_lightning.tracking.confusions import Confusions

NAMED = 20  # classes; the names of more would overlap
WHOLE = 1_000  # classes; of more, some are shown, for there are no pixels for them all
SHOWN = 50
TALL, ROW = 200, 0.16  # concepts that have names; inches of a row with one


def confusion_figure(found: Confusions, class_names: Sequence[str]) -> Figure:
    """The share of each true class (a row) that was taken for each class; of very many, of those confused most."""
    shown = range(found.num_classes) if found.num_classes <= WHOLE else found.confused(SHOWN)
    title = "Confusion matrix" + ("" if len(shown) == found.num_classes else f" of {SHOWN} classes often confused")
    class_names = [class_names[label] for label in shown]
    shares = found.counts(shown) / np.maximum(1, found.images[shown, None])
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(class_names) <= NAMED:
        axes.set_xticks(range(len(class_names)), class_names, rotation=90, parse_math=False)
        axes.set_yticks(range(len(class_names)), class_names, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    figure.colorbar(image, label="share of the true class")
    return figure


def reliability_figure(confidence: Sequence[float], accuracy: Sequence[float]) -> Figure:
    """Accuracy over confidence, a point for each bin; a calibrated network lies on the diagonal."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="calibrated")
    axes.plot(confidence, accuracy, marker="o", label="this network")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy", title="Reliability")
    axes.legend()
    return figure


def concepts_figure(told: Told) -> Figure:
    """The accuracy on each concept (a row) after each epoch; what an epoch taught is marked."""
    names = told.concepts
    accuracy = [[one.concepts.get(name) for one in told.epochs] for name in names]
    height = 1.5 + ROW * min(TALL, max(10, len(names)))
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots()
    first, last = told.epochs[0].epoch + 0.5, told.epochs[-1].epoch + 1.5
    image = axes.imshow(
        np.array(accuracy, dtype=float),
        cmap="Blues",
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
        extent=(first, last, len(names) - 0.5, -0.5),
    )
    taught = [(epoch + 1, names.index(name)) for epoch, name in told.taught]
    axes.scatter([x for x, _ in taught], [y for _, y in taught], s=4, color="tab:orange")
    if len(names) <= TALL:
        axes.set_yticks(range(len(names)), names, parse_math=False, fontsize=8)
    axes.set(xlabel="epoch", title="Accuracy on each concept; orange: taught", xlim=(first, last))
    axes.set_ylim(len(names) - 0.5, -0.5)
    figure.colorbar(image, label="accuracy")
    return figure
