"""What a command says in the terminal, on the first rank alone; its texts are shown as they are, not as markup."""

import os
import sys
from functools import cache
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # where launchers tell a process its number

AS_IT_IS: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False}  # of what a console shows
console = Console(**AS_IT_IS)


def say(title: str, text: str) -> None:
    """One line: what is being worked on, and what is known of it."""
    show(Text.assemble((title.ljust(14), "bold"), " ", text))


@cache
def say_once(title: str, text: str) -> None:
    """The same, where a process may come to it several times."""
    say(title, text)


def show(renderable: RenderableType) -> None:
    """A line as it is, however wide the terminal, or what rich draws."""
    if is_first_rank():
        console.print(renderable, soft_wrap=isinstance(renderable, (str, Text)))


def warn(text: str) -> None:
    """One line on stderr: what did not work, and how it goes on."""
    if is_first_rank():
        print(f"warning: {text}", file=sys.stderr)


def is_first_rank() -> bool:
    """Whether this process is the first of those that train together, or the only one.

    Lightning knows, but takes seconds to import; before it is there, the environment tells.
    """
    known = sys.modules.get("lightning_utilities.core.rank_zero")
    rank = getattr(known.rank_zero_only, "rank", None) if known is not None else None
    if rank is None:
        rank = next((os.environ[name] for name in RANKS if name in os.environ), 0)
    return int(rank) == 0
