"""Long text, a screen at a time where somebody reads it."""

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress


def show(text: str) -> None:
    """Print a text; in a terminal that it does not fit, with $PAGER, or less."""
    pager = shlex.split(os.environ.get("PAGER", "less"))
    is_long = text.count("\n") + 2 > shutil.get_terminal_size().lines
    if is_long and is_watched() and pager and shutil.which(pager[0]):
        environment = {"LESS": "FRX", **os.environ}  # less ends by itself where all is seen, and leaves it there
        with subprocess.Popen(pager, stdin=subprocess.PIPE, text=True, env=environment) as process:
            with suppress(BrokenPipeError, KeyboardInterrupt):
                process.communicate(f"{text}\n")
            while process.poll() is None:
                with suppress(KeyboardInterrupt):  # which the pager takes for its own
                    process.wait()
        return
    try:
        print(text, flush=True)
    except BrokenPipeError:  # whoever reads the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_watched() -> bool:
    """Whether somebody reads what is printed, and can turn pages."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
