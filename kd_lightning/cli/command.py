"""What makes a function a command: its help, and its run. What either needs is imported when it is asked for."""

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig


def command(config_name: str) -> "Callable[[Callable[[DictConfig], object]], Callable[[], None]]":
    """Make `main(config)` a command: composed by Hydra from conf/<config_name>.yaml, but for --help."""

    def decorate(task: "Callable[[DictConfig], object]") -> Callable[[], None]:
        @functools.wraps(task)
        def main() -> None:
            if {"--help", "-h"} & {*sys.argv[1:]}:
                from kd_lightning.cli.help import show_help

                sys.exit(show_help(config_name, sys.argv[1:]))
            from kd_lightning.cli.composed import run_to_the_end  # which imports Hydra

            run_to_the_end(task, config_name)

        return main

    return decorate
