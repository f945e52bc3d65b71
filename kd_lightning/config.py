"""Where conf/ is, and how a command runs on a config composed from it."""

import functools
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.errors import UserError

BAD_INPUT = (UserError, HydraException, OmegaConfBaseException)
SOFT_TARGET = "kd_lightning.losses.SoftTarget"


def conf_dir() -> Path:
    """conf/ inside the installed package, or at the top of the clone."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def cross_entropy_weight(alpha: float, *, _root_: DictConfig) -> float:
    """1-alpha where a soft-target term stands beside the cross-entropy, else 1."""
    terms = _root_.get("loss") or {}
    targets = [(term or {}).get("loss", {}).get("_target_") for term in terms.values()]
    return 1.0 - alpha if SOFT_TARGET in targets else 1.0


def register_resolvers() -> None:
    OmegaConf.register_new_resolver("cross_entropy_weight", cross_entropy_weight, replace=True)


def one_line(error: BaseException) -> str:
    """An error's message for the terminal, on one line."""
    if not str(error):
        return one_line(error.__cause__) if error.__cause__ else type(error).__name__
    # A data loader's worker sends its error as text with the traceback in front; the message is what follows it.
    text = str(error).rsplit(f"{UserError.__name__}: ", 1)[-1]
    text = " ".join(text.partition("\nConfig search path")[0].split())
    missing = re.match(r"In '.+': Could not (?:load|find) '(.+)/([^']+)'", text)
    return f"{missing[1]}={missing[2]}: no such config; there are {', '.join(options(missing[1]))}" if missing else text


def options(group: str) -> list[str]:
    """The values of a config group."""
    return sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))


def discard_empty_run() -> None:
    """Remove the folder that Hydra made for a run which never began."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if HydraConfig.get().output_subdir is None or not folder.is_dir():
        return
    if {entry.name for entry in folder.iterdir()} <= {".hydra"}:
        shutil.rmtree(folder)
        for parent in list(folder.parents)[:2]:
            if parent != Path.cwd() and parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


def command(config_name: str) -> Callable[[Callable[[DictConfig], object]], Callable[[], None]]:
    """Make `main(config)` a command: composed by Hydra from conf/<config_name>.yaml; bad input ends with exit code 2.

    Bad input is one line; with HYDRA_FULL_ERROR=1 in the environment it is a traceback.
    """

    def decorate(task: Callable[[DictConfig], object]) -> Callable[[], None]:
        @functools.wraps(task)
        def main() -> None:
            failures: list[Exception] = []

            def job(config: DictConfig) -> object:
                try:
                    return task(config)
                except BAD_INPUT as error:
                    discard_empty_run()
                    failures.append(error)
                    return None

            register_resolvers()
            if os.getcwd() not in sys.path:
                sys.path.append(os.getcwd())  # last, so that it hides nothing: a user's own classes for `_target_`
            # Threads that spin while they wait make a small network many times slower as soon as a core is shared.
            os.environ.setdefault("OMP_WAIT_POLICY", "passive")
            with hydra_raises() as traceback_wanted:
                try:
                    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(job)()
                except BAD_INPUT as error:
                    failures.append(error)
                except BrokenPipeError:  # whoever reads the output, such as `head`, has seen enough
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if failures and traceback_wanted:
                raise failures[0]
            for failure in failures:
                print(f"error: {one_line(failure)}", file=sys.stderr)
            if failures:
                sys.exit(2)

        return main

    return decorate


@contextmanager
def hydra_raises() -> Iterator[bool]:
    """Let Hydra raise errors, which it else prints itself to exit with 1; gives whether the user asked for it too."""
    asked = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield asked == "1"
    finally:
        if asked is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = asked
