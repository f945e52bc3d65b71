"""What goes wrong, class by class."""

from typing import Any

import numpy as np

from kd_lightning.reporting.figures.style import SCALE, Figure, as_text, axis, colours, figure, panels, subtitle
from kd_lightning.runs.run import Run
from kd_lightning.runs.summary import Network, Role
from kd_lightning.tracking.confusions import Confusions

LABELLED = 40  # classes; of more, names stand in the hover text alone
NUMBERED = 12  # classes; of more, or of as many in all of more than three matrices, the cells' numbers do
WHOLE = 200  # classes; of more, only the worst of them are shown, or the page would be of tens of megabytes
WORST = 50
# Classes; of more, the worst are hardly ever taken for one another, so the most confused are shown instead, and only
# those that gain most and those that lose most have a bar.
MANY = 1_000
EXTREMES = 50


def confusions(run: Run) -> Figure | None:
    """The confusion matrices side by side, in per cent of each true class."""
    found = all_confusions(run)
    if not found:
        return None
    shown, every = shown_classes(found[-1][1]), class_names(run)
    names, domains = [every[index] for index in shown], panels(len(found), gap=0.06)
    data, layout, titles = [], {}, []
    for number, (network, one) in enumerate(found):
        suffix = "" if number == 0 else str(number + 1)
        data.append(
            heatmap(one, shown, names, numbered=len(names) * len(found) <= 3 * NUMBERED)
            | {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        )
        true = "true" if number == 0 else ""
        layout[f"xaxis{suffix}"] = class_axis("predicted", names, domain=domains[number], anchor=f"y{suffix}")
        layout[f"yaxis{suffix}"] = class_axis(true, names, anchor=f"x{suffix}", autorange="reversed")
        titles.append(subtitle(as_text(network.title), sum(domains[number]) / 2))
    scale = {"colorscale": SCALE, "cmin": 0, "cmax": 100, "showscale": False}
    height = 430 if len(found) > 1 else 620
    return figure(data, height=height, annotations=titles, coloraxis=scale, **layout)


def heatmap(found: Confusions, shown: list[int], names: list[str], numbered: bool) -> dict[str, Any]:
    """The shown part of one confusion matrix."""
    counts = found.counts(shown)
    shares = 100 * counts / found.images[shown, None].clip(min=1)
    cells = {"type": "heatmap", "x": names, "y": names, "z": np.round(shares, 2).tolist(), "coloraxis": "coloraxis"}
    cells |= {"xgap": 1, "ygap": 1, "customdata": counts.tolist()}
    cells["hovertemplate"] = "true %{y}, predicted %{x}<br>%{z:.1f} %, %{customdata} images<extra></extra>"
    if numbered and len(names) <= NUMBERED:
        cells |= {"text": labels(shares), "texttemplate": "%{text}", "textfont": {"size": 11}}
    return cells


def class_axis(title: str, names: list[str], **options: Any) -> dict[str, Any]:
    """An axis of classes, with their names where these are not too many."""
    ticks = {"ticks": "", "ticklabelstandoff": 6, "showticklabels": len(names) <= LABELLED, "dtick": 1}
    return axis(title, type="category", showgrid=False, **ticks, **options)


def shown_classes(found: Confusions) -> list[int]:
    """All classes; of many the ones with the lowest recall, of very many those of the commonest confusions."""
    if found.num_classes <= WHOLE:
        return [*range(found.num_classes)]
    return found.worst(WORST) if found.num_classes <= MANY else found.confused(WORST)


def gain_by_class(run: Run) -> Figure | None:
    """How many points of recall the run's result has of each class over what it is compared with, sorted.

    Of very many classes those with the most and those with the fewest.
    """
    if run.summary is None or (baseline := run.summary.baseline) is None:
        return None
    result, colour = run.summary.result, colours(run.networks)
    ours, theirs = confusions_of(result, run), confusions_of(baseline, run)
    if ours is None or theirs is None:
        return None
    better, worse = colour[result.name], colour[baseline.name]
    after, before = map(as_text, words(result, baseline))
    gain = 100 * (ours.recall - theirs.recall)
    order = np.argsort(-gain, kind="stable")
    if len(order) > MANY:
        order = np.concatenate([order[:EXTREMES], order[-EXTREMES:]])
    names = np.array(class_names(run))[order]
    bars = {
        "type": "bar",
        "x": names.tolist(),
        "y": gain[order].tolist(),
        "customdata": np.stack([100 * theirs.recall[order], 100 * ours.recall[order]], axis=1).tolist(),
        "hovertemplate": f"%{{x}}: %{{customdata[0]:.1f}} % {before}, %{{customdata[1]:.1f}} % {after}<extra></extra>",
        "marker": {"color": [better if value >= 0 else worse for value in gain[order]]},
    }
    categories = axis("class", type="category", showticklabels=len(names) <= LABELLED, showgrid=False)
    return figure([bars], height=320, xaxis=categories, yaxis=axis("points of recall", zeroline=True))


def words(result: Network, baseline: Network) -> tuple[str, str]:
    """What both are called beside a number of each."""
    if (result.role, baseline.role) == (Role.STUDENT, Role.BASELINE):
        return "distilled", "alone"
    return result.title, baseline.title


def all_confusions(run: Run) -> list[tuple[Network, Confusions]]:
    """Of the networks that were tested, in the order of tables but that what the run is about is the last."""
    networks = sorted(run.networks, key=run.is_about)
    return [(network, found) for network in networks if (found := confusions_of(network, run)) is not None]


def confusions_of(network: Network, run: Run) -> Confusions | None:
    """Which classes a network of the run takes for which; None where it was not tested."""
    rows = run.arrays_of(network.name).get("confusions")
    return None if rows is None else Confusions(rows, len(run.arrays["class_names"]))


def labels(shares: np.ndarray) -> list[list[str]]:
    """Whole per cents; nothing where it rounds to 0."""
    return [["" if value < 0.5 else f"{value:.0f}" for value in row] for row in shares]


def class_names(run: Run) -> list[str]:
    """As plotly shows them."""
    return [as_text(str(name)) for name in run.arrays["class_names"]]
