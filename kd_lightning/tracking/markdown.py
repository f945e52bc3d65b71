"""Tables in Markdown, whose cells are shown as they are."""

import re
from collections.abc import Sequence

# What begins emphasis, code, HTML, a cell, an entity or the target of a link; an underscore within a word is none.
SYNTAX = re.compile(r"[\\`*<|~]|&(?=#?\w+;)|\](?=[(\[])|(?<!\w)_|_(?!\w)")


def as_text(text: str) -> str:
    """A text on one line that Markdown shows as it is."""
    return SYNTAX.sub(r"\\\g<0>", " ".join(text.split()))


def row(cells: Sequence[str]) -> str:
    """A row of a table; the cells are Markdown."""
    return "| " + " | ".join(cells) + " |"
