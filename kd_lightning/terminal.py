"""What a command says in the terminal, on the first rank alone."""

import sys

from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

console = Console()


@rank_zero_only
def say(title: str, text: str) -> None:
    """One line: what is being worked on, and what is known of it."""
    console.print(f"[bold]{title:<14}[/] {text}", highlight=False, soft_wrap=True)


@rank_zero_only
def show(renderable: object) -> None:
    console.print(renderable, soft_wrap=isinstance(renderable, str), highlight=False)


@rank_zero_only
def warn(text: str) -> None:
    """One line on stderr: what did not work, and how it goes on."""
    print(f"warning: {text}", file=sys.stderr)
