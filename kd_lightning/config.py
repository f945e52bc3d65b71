"""Where conf/ is, and how a command runs on a config composed from it."""

import functools
import itertools
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.errors import UserError

BAD_INPUT = (UserError, HydraException, OmegaConfBaseException)
FULL_ERROR = "HYDRA_FULL_ERROR"
PLUGINS = {  # configs that an extra of this package brings
    ("hydra/launcher", "joblib"): "joblib",
    ("hydra/launcher", "ray"): "ray",
    ("hydra/launcher", "submitit_local"): "submitit",
    ("hydra/launcher", "submitit_slurm"): "submitit",
    ("hydra/sweeper", "optuna"): "optuna",
}
at_end = ExitStack()  # what a command began that must end with it, however it ends
BEFORE_THE_FIRST_CHECKPOINT = {
    *(".hydra", "checkpoints", "initialization", "metrics.csv", "scratch", "teacher", "tensorboard", "wandb")
}


def conf_dir() -> Path:
    """conf/ inside the installed package, or at the top of the clone."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def cross_entropy_weight(alpha: float, *, _root_: DictConfig) -> float:
    """1-alpha where a soft-target term stands beside the cross-entropy, else 1."""
    losses = [(term or {}).get("loss") or {} for term in (_root_.get("loss") or {}).values()]
    soft = [is_soft_target(loss["_target_"]) for loss in losses if "_target_" in loss]
    return 1.0 - alpha if any(soft) else 1.0


def is_soft_target(target: str) -> bool:
    """Whether a loss's class says that it matches the teacher's soft targets; a class that is not found does not."""
    try:
        return bool(getattr(get_object(target), "soft_target", False))
    except Exception:  # reported where it is instantiated
        return False


def for_pair(name: str, default: float, *, _root_: DictConfig) -> float:
    """What `pairs` sets by this name for TEACHER_STUDENT, else the default."""
    pair = f"{_root_.teacher.get('model')}_{_root_.student.get('model')}"
    value: float = ((_root_.get("pairs") or {}).get(pair) or {}).get(name, default)
    return value


def register_resolvers() -> None:
    OmegaConf.register_new_resolver("cross_entropy_weight", cross_entropy_weight, replace=True)
    OmegaConf.register_new_resolver("for_pair", for_pair, replace=True)
    OmegaConf.register_new_resolver("new_folder", new_folder, replace=True, use_cache=True)


def new_folder(path: str) -> str:
    """Make a folder that was not there: `path`, or with -2, -3, … behind it for runs that begin in the same second."""
    for number in itertools.count(1):
        folder = path if number == 1 else f"{path}-{number}"
        try:
            Path(folder).mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError


def one_line(error: BaseException) -> str:
    """An error's message for the terminal, on one line."""
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, UserError):
        return one_line(UserError(_with_key(str(error), str(error.__cause__))))
    if not str(error):
        return one_line(error.__cause__) if error.__cause__ else type(error).__name__
    # A data loader's worker sends its error as text with the traceback in front; the message is what follows it.
    text = str(error).rsplit(f"{UserError.__name__}: ", 1)[-1]
    text = " ".join(text.partition("\nConfig search path")[0].split())
    missing = re.match(r"In '.+': Could not (?:load|find) '([^']+)/([^'/]+)'", text)
    return _no_such_config(missing[1], missing[2]) if missing else text


def _no_such_config(group: str, value: str) -> str:
    if (group, value) in PLUGINS:
        return f'{group}={value}: is not installed; pip install "kd-lightning[{PLUGINS[group, value]}]"'
    close = get_close_matches(value, options(group), n=3)
    remedy = (
        f"did you mean {' or '.join(close)}? --help lists all" if close else f"there are {', '.join(options(group))}"
    )
    return f"{group}={value}: no such config; {remedy}"


def _with_key(raised: str, message: str) -> str:
    """The message of a constructor with the config key in front where it does not name that itself."""
    key = raised.rpartition("full_key: ")[2].strip()
    return message if message.startswith(f"{key.partition('.')[0]}.") else f"{key}.{message}"


def options(group: str) -> list[str]:
    """The values of a config group."""
    folder = conf_dir() / group
    return sorted(str(file.relative_to(folder).with_suffix("")) for file in folder.rglob("*.yaml"))


def run_folder() -> Path:
    """The folder of this run, which ranks that a strategy launches are told by its name."""
    hydra_config: Any = HydraConfig.get()
    with read_write(hydra_config):
        hydra_config.run.dir = hydra_config.runtime.output_dir
    return Path(hydra_config.run.dir)


def is_sweep_job() -> bool:
    """Whether this is a job of a multirun, run by its launcher."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def save_config(config: DictConfig, folder: Path) -> None:
    """Write `.hydra/`, as Hydra itself would before the config is checked: over that of an earlier run."""
    hydra_config = HydraConfig.get()
    record = folder / ".hydra"
    record.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, record / "config.yaml")
    OmegaConf.save(OmegaConf.create({"hydra": hydra_config}), record / "hydra.yaml")
    OmegaConf.save(hydra_config.overrides.task, record / "overrides.yaml")


def discard_empty_run() -> None:
    """Remove the folder of a run that ended before its first checkpoint."""
    folder = Path(HydraConfig.get().runtime.output_dir).resolve()
    if folder == Path.cwd() or not folder.is_dir() or list(folder.rglob("*.ckpt")):
        return
    if {entry.name for entry in folder.iterdir()} <= BEFORE_THE_FIRST_CHECKPOINT:
        remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder, and the two around it if they are empty now."""
    shutil.rmtree(folder)
    for parent in list(folder.resolve().parents)[:2]:
        if parent != Path.cwd() and parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()


def prepare_process() -> None:
    """What configs and training need of a process."""
    register_resolvers()
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that it hides nothing: a user's own classes for `_target_`
    # OpenMP threads that spin for long while they wait make training several times slower on a shared machine;
    # those that never spin make it slower on a quiet one.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def refuse_multirun_of_config() -> None:
    """Raise `UserError` for -m with --cfg, of which Hydra takes one alone."""
    flags = {*sys.argv[1:]}
    if flags & {"-m", "--multirun"} and flags & {"-c", "--cfg"}:
        raise UserError("--cfg: shows the config of one run; leave -m and the values separated by commas away")


def command(config_name: str) -> Callable[[Callable[[DictConfig], object]], Callable[[], None]]:
    """Make `main(config)` a command: composed by Hydra from conf/<config_name>.yaml; bad input ends with exit code 2.

    Bad input is one line; with HYDRA_FULL_ERROR=1 in the environment it is a traceback.
    """

    def decorate(task: Callable[[DictConfig], object]) -> Callable[[], None]:
        @functools.wraps(task)
        def main() -> None:
            failures: list[Exception] = []
            asked = os.environ.get(FULL_ERROR)

            def job(config: DictConfig) -> object:
                prepare_process()  # a launcher may run the job in another one
                try:
                    with environment(FULL_ERROR, asked):  # for the ranks that a strategy launches
                        return task(config)
                except BAD_INPUT as error:
                    discard_empty_run()
                    failures.append(error)
                    return None

            prepare_process()
            with at_end, environment(FULL_ERROR, "1"):  # else Hydra prints errors itself, and exits with 1
                try:
                    refuse_multirun_of_config()
                    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(job)()
                except BAD_INPUT as error:
                    failures.append(error)
                except BrokenPipeError:  # whoever reads the output, such as `head`, has seen enough
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if failures and asked == "1":
                raise failures[0]
            for failure in failures:
                print(f"error: {one_line(failure)}", file=sys.stderr)
            if failures:
                sys.exit(2)

        return main

    return decorate


@contextmanager
def environment(name: str, value: str | None) -> Iterator[None]:
    """An environment variable with another value, or without one."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
