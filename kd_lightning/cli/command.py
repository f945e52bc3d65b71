"""What makes a function a command: its help, and its run. What either needs is imported when it is asked for."""

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig


def command(config_name: str) -> "Callable[[Callable[[DictConfig], object]], Callable[[], None]]":
    """Make `main(config)` a command: composed by Hydra from conf/<config_name>.yaml, but for --help and tab keys."""

    def decorate(task: "Callable[[DictConfig], object]") -> Callable[[], None]:
        @functools.wraps(task)
        def main() -> None:
            asked = {*sys.argv[1:]}
            if asked & {"--help", "-h"}:
                from kd_lightning.cli.help import show_help

                sys.exit(show_help(config_name, sys.argv[1:]))
            if "--version" in asked:
                from kd_lightning.system.version import __version__

                print(f"KD Lightning {__version__}")
            elif asked & {"-sc", "--shell-completion"} and (shells := [one for one in asked if one[:6] == "query="]):
                from kd_lightning.cli.completion import complete

                complete(config_name, shells[0].partition("=")[2])
            else:
                from kd_lightning.cli.composed import run_to_the_end  # which imports Hydra

                run_to_the_end(task, config_name)

        return main

    return decorate
