"""What is shown of a classification, class by class."""

from kd_lightning.reporting.figures.classification.calibration import reliability
from kd_lightning.reporting.figures.classification.classes import (
    EXTREMES,
    MANY,
    WHOLE,
    WORST,
    all_confusions,
    confusions,
    gain_by_class,
)
from kd_lightning.reporting.figures.classification.knowledge import beyond_the_label
from kd_lightning.reporting.pages.content import Cell, Section, Table, section
from kd_lightning.runs.files import EVALUATION
from kd_lightning.runs.run import Run

CONFUSIONS = 20  # rows


def classification(run: Run) -> list[Section]:
    """The sections of a run whose arrays are those of a classification; none of another one."""
    if "class_names" not in run.arrays:
        return []
    confused = "In per cent of each true class, on the test set; the diagonal is what is right."
    classes = len(run.arrays["class_names"])
    if classes > WHOLE:
        does = "recalls least" if classes <= MANY else "confuses most often"
        confused += (
            f" Of all {classes:,} classes the {WORST} that the last of these networks {does}; below, its commonest "
            f"confusions of all classes. {EVALUATION} holds them all."
        )
    gained = (
        f"Recall on the test set, {difference(run)}. Classes of few images move by chance: compare over seeds before "
        "you conclude."
    )
    if classes > MANY:
        gained += f" Of all {classes:,} classes the {EXTREMES} that gain most and the {EXTREMES} that lose most."
    reliable = (
        "On the dotted diagonal a network is right as often as it says. Below it is too sure, above it not sure "
        "enough. Right: how its confidences are spread."
    )
    knowledge = (
        "Left: what the teacher gives on the mean to a class beside the true one, at temperature 1. Right: the mean "
        "entropy of its probabilities over the temperature; the dotted line is that of knowing nothing."
    )
    return [
        *section("confusion", "Confusion", confused, [confusions(run), commonest_confusions(run)]),
        *section("gain", "Gain by class", gained, [gain_by_class(run)]),
        *section("reliability", "Reliability", reliable, [reliability(run)]),
        *section("knowledge", "What the teacher knows", knowledge, [beyond_the_label(run)]),
    ]


def difference(run: Run) -> str:
    """What a gain is the difference of."""
    baseline = None if run.summary is None else run.summary.baseline
    return "" if run.summary is None or baseline is None else f"{run.summary.result.title} minus {baseline.title}"


def commonest_confusions(run: Run) -> Table | None:
    """Of very many classes, which the last network takes for which others most often; None of fewer classes."""
    tested = all_confusions(run)
    if not tested or tested[-1][1].num_classes <= WHOLE:
        return None
    found = tested[-1][1]
    names = run.arrays["class_names"]
    rows = [
        [Cell(str(names[true])), Cell(str(names[other])), Cell(f"{images:,}"), Cell(f"{100 * images / of:.1f}")]
        for true, other, images in found.wrong[:CONFUSIONS].tolist()
        for of in (found.images[true],)
    ]
    return Table(["true", "predicted", "images", "% of the true class"], [False, False, True, True], rows)
