"""What all figures share. A figure is plain data in plotly's JSON schema: {"data": [...], "layout": {...}}.

Text, axes and grid take their colours from the page's style sheet, so that they follow light and dark; the colours
here are read on both.
"""

import math
import re
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from kd_lightning.runs.summary import Network, Role

Figure = dict[str, Any]

GREY, ORANGE, BLUE = "#8b929c", "#dd8a26", "#2f7fcb"
OTHERS = [BLUE, ORANGE, "#3a9d6b", "#b65fb0", "#c4544f", "#7a6fd0", "#9a8a2c", "#3d9fa8"]
# Of the networks of a role, in order; after the last it begins anew.
OF_ROLES = {
    Role.TEACHER: [GREY, "#6f6a5e", "#a3a07f", "#6b7f8f"],
    Role.MEMBER: ["#b3aea3", "#c2bf9f", "#a9b8c2", "#bda8b5"],
    Role.ASSISTANT: ["#7a6fd0", "#b65fb0", "#9a8a2c", "#8f86c9"],
    Role.BASELINE: [ORANGE, "#c4544f", "#d9a441"],
    Role.STUDENT: [BLUE, "#3a9d6b", "#3d9fa8", "#5c62b8"],
}
# One hue, from clear to strong: zero shows the page's own background.
SCALE = [[0.0, "rgba(47,127,203,0)"], [1.0, "rgba(47,127,203,0.75)"]]
INTERPRETED = re.compile(r"[&<>$%{}]")
LOW_TO_HIGH = ("#d9a441", "#8c8f9a", "#2f7fcb")


def as_text(text: str) -> str:
    """A text that plotly shows as it is; in all texts it reads tags, entities, formulas in $ and %{templates}."""
    return INTERPRETED.sub(lambda found: f"&#{ord(found[0])};", text)


def colours(networks: Iterable[Network]) -> dict[str, str]:
    """The colour of each network by name: its role's, further networks of a role get further ones."""
    places = {role: count() for role in Role}
    return {one.name: OF_ROLES[one.role][next(places[one.role]) % len(OF_ROLES[one.role])] for one in networks}


def figure(data: list[dict[str, Any]], height: int = 340, **layout: Any) -> Figure:
    """A figure with its margins; figures.js adds the page's type."""
    base = {
        "height": height,
        "margin": {"l": 60, "r": 16, "t": 28, "b": 48},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }
    return {"data": data, "layout": base | layout}


def axis(title: str = "", **options: Any) -> dict[str, Any]:
    """An axis with a title that keeps clear of its ticks."""
    words = {"text": title, "standoff": 8, "font": {"size": 13}}
    base = {"title": words, "automargin": True, "zeroline": False, "showline": False}
    return base | options


def logarithmic(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis around some values, with round numbers in full at its ticks: 500k, 1M, 2M."""
    positive = [value for value in values if value > 0]
    if not positive:
        return {"type": "log"}
    low, high = min(positive) / MARGIN, max(positive) * MARGIN
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for leading in LEADING:
        ticks = [digit * 10.0**decade for decade in decades for digit in leading]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= FEW_TICKS:
            break
    ticks = ticks[:: 1 + len(ticks) // MANY_TICKS]
    bounds = [math.log10(low), math.log10(high)]
    return {"type": "log", "range": bounds, "tickvals": ticks, "ticktext": [in_thousands(tick) for tick in ticks]}


LEADING = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8))  # digits of ticks within a decade, fewer first
FEW_TICKS, MANY_TICKS = 3, 7
MARGIN = 2  # beside the outermost values


def in_thousands(value: float) -> str:
    """Such as 1.5M."""
    for sign, unit in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= unit:
            return f"{value / unit:.3g}{sign}"
    return f"{value:.3g}"


def subtitle(text: str, x: float) -> dict[str, Any]:
    """The title of one panel among several, above it; `x` is a fraction of the figure's width."""
    place = {"x": x, "y": 1.0, "xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "bottom"}
    return {"text": text, "showarrow": False, **place}


def panels(number: int, gap: float = 0.08) -> list[list[float]]:
    """The domains of panels side by side."""
    width = (1 - gap * (number - 1)) / number
    return [[i * (width + gap), i * (width + gap) + width] for i in range(number)]


def epochs(last: float, **options: Any) -> dict[str, Any]:
    """An axis of whole epochs."""
    return axis("epoch", tick0=0, dtick=max(1, round(last / 10)), **options)


def mixed(colours: tuple[str, str, str], share: float) -> str:
    """A colour between three, from 0 to 1."""
    first, second = (colours[0], colours[1]) if share < 0.5 else (colours[1], colours[2])
    part = 2 * share if share < 0.5 else 2 * share - 1
    pairs = [(int(first[i : i + 2], 16), int(second[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + part * (b - a)):02x}" for a, b in pairs)
