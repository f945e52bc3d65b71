"""What a command says in the terminal, on the first rank alone; its texts are shown as they are, not as markup."""

import os
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

OF_ALL = ("SLURM_PROCID", "JSM_NAMESPACE_RANK")  # where srun and jsrun tell a process its number

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

    The environment tells, of ranks that are spawned Lightning, which takes seconds to import.
    """
    known = sys.modules.get("lightning_utilities.core.rank_zero")
    spawned = getattr(known.rank_zero_only, "rank", None) if known is not None else None
    return is_first_in(os.environ) and not spawned


def is_first_in(environment: Mapping[str, str]) -> bool:
    """What launchers tell a process: torchrun its number, Lightning its number on a node and the node's, srun its own.

    Lightning's launcher below srun: its number on the node counts, for srun knows the one process that launches.
    """
    if "RANK" in environment:
        return int(environment["RANK"]) == 0
    if "LOCAL_RANK" in environment:
        return int(environment["LOCAL_RANK"]) == int(environment.get("NODE_RANK", 0)) == 0
    return all(int(environment.get(name, 0)) == 0 for name in (*OF_ALL, "NODE_RANK"))


def are_started_outside(environment: Mapping[str, str]) -> bool:
    """Whether torchrun, srun or jsrun started several ranks; of these, Lightning takes no notice in a shell's job."""
    by_torchrun = "RANK" in environment and int(environment.get("WORLD_SIZE", 1)) > 1
    in_a_shell = environment.get("SLURM_JOB_NAME") in ("bash", "interactive")
    by_srun = "SLURM_PROCID" in environment and int(environment.get("SLURM_NTASKS", 1)) > 1 and not in_a_shell
    return by_torchrun or by_srun or int(environment.get("JSM_NAMESPACE_SIZE", 1)) > 1
