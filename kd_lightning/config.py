"""Where conf/ is, and how a command runs on a config composed from it."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.errors import UserError

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
    # A data loader's worker sends its error as text with the traceback in front; the message is what follows it.
    text = str(error).rsplit(f"{UserError.__name__}: ", 1)[-1]
    return " ".join(text.split()) or (one_line(error.__cause__) if error.__cause__ else type(error).__name__)


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

    With HYDRA_FULL_ERROR=1 in the environment bad input ends with a traceback instead.
    """

    def decorate(task: Callable[[DictConfig], object]) -> Callable[[], None]:
        def job(config: DictConfig) -> object:
            try:
                return task(config)
            except (UserError, OmegaConfBaseException):
                discard_empty_run()
                raise

        def main() -> None:
            register_resolvers()
            traceback_wanted = "HYDRA_FULL_ERROR" in os.environ
            os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra itself prints the error, and exits with 1
            try:
                hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(job)()
            except (UserError, HydraException, OmegaConfBaseException) as error:
                if traceback_wanted:
                    raise
                sys.exit(fail(error))

        main.__doc__ = task.__doc__
        return main

    return decorate


def fail(error: Exception) -> int:
    """Print bad input as one line; the exit code."""
    print(f"error: {one_line(error)}", file=sys.stderr)
    return 2
