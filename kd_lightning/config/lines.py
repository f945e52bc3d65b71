"""How --help sets what it says in lines: paragraphs, and keys with what is said of each beside it."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from kd_lightning.config.comments import Commented

INDENT = "  "
COLUMN = 34  # where the words begin that stand beside a key
IN_QUOTES = re.compile(r"""(["'])([\w.-]+)\1""")
PAPERS = {r"arXiv:(\d{4}\.\d{4,5})": "https://arxiv.org/abs/", r"doi:(10\.[^\s;,)]+[^\s;,).])": "https://doi.org/"}


def rows(keys: Iterable[Commented], width: int) -> Iterator[str]:
    """Keys as they are typed, with what is said of each; what is said of several stands above them."""
    for n, one in enumerate(keys):
        if one.above and one.beside:
            yield from [""] * bool(n)
            yield from filled(one.above, width)
        if one.value or one.beside or one.above:
            yield from beside(typed(one, width), one.beside or one.above, width)


def beside(left: str, right: str, width: int, column: int = COLUMN) -> Iterator[str]:
    """Two columns; the right one begins below the left where that is too long."""
    lines = textwrap.wrap(right, width - column, break_on_hyphens=False)
    fits = len(INDENT) + len(left) + 2 <= column
    yield f"{INDENT}{left}".ljust(column) + lines.pop(0) if fits and lines else f"{INDENT}{left}"
    yield from (" " * column + line for line in lines)


def filled(text: str, width: int, indent: str = INDENT, below: str | None = None) -> list[str]:
    """A paragraph; its first line may be indented in another way than those below."""
    below = indent if below is None else below
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=below, break_on_hyphens=False)


def paragraphs(header: Sequence[str], width: int, indent: str = INDENT) -> Iterator[str]:
    """What a file says in front, filled anew; lines that are indented there, such as commands, stay as they are."""
    for is_verbatim, group in groupby(header, key=lambda line: not line or line.startswith(" ")):
        lines = [*group]
        yield from (
            (f"{indent}{line}".rstrip() for line in lines) if is_verbatim else filled(" ".join(lines), width, indent)
        )


def links(header: Iterable[str]) -> list[str]:
    """Where the papers are that a text names."""
    text = " ".join(header)
    return list(dict.fromkeys(f"{site}{found}" for paper, site in PAPERS.items() for found in re.findall(paper, text)))


def typed(one: Commented, width: int) -> str:
    """A key as it is typed on a command line, with as much of its value as a line takes."""
    value = IN_QUOTES.sub(r"\2", " ".join(one.value.split()))
    key = ".".join(one.path)
    room = width - len(INDENT) - len(key) - 1
    return f"{key}={value if len(value) <= room else value[: room - 2] + ' …'}" if value else key
