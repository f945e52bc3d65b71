"""How a command runs that composes no config: what is wrong is one line."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from kd_lightning.errors import UserError
from kd_lightning.system.disk import is_of_the_disk


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, as all commands do; raises UserError."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError with what argparse found wrong."""
        raise UserError(f"{self.prog}: {message}; {self.prog} --help lists what it takes")


class Version(argparse.Action):
    """Prints the version and ends the command."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from kd_lightning.system.version import __version__  # which takes a while to look up

        print(f"KD Lightning {__version__}")
        parser.exit()


def run(task: Callable[[], int]) -> NoReturn:
    """End the process with the task's exit code; with one line and 2 for bad input, 1 where a disk takes no more."""
    try:
        os.getcwd()
        code = task()
        sys.stdout.flush()
    except UserError as error:
        code = print_error(str(error), 1 if is_of_the_disk(error.__cause__) else 2)
    except BrokenPipeError:  # whoever reads the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        from kd_lightning.config.refusals.os_errors import current_folder, disk_failure, refusal  # which imports Hydra

        try:
            current_folder()
        except UserError as gone:
            sys.exit(print_error(str(gone), 2))
        failure = disk_failure(error, None, "run the same command again")
        refused = failure or refusal(error, sys.argv[1:])
        if refused is None:
            raise
        code = print_error(str(refused), 2 if failure is None else 1)
    sys.exit(code)


def print_error(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
