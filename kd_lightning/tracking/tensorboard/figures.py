"""A finished network's confusion matrix and reliability diagram, drawn by matplotlib."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from kd_lightning.tracking.confusions import Confusions

NAMED = 20  # classes; the names of more would overlap
WHOLE = 1_000  # classes; of more, some are shown, for there are no pixels for them all
SHOWN = 50


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
