"""Commands as processes of their own that need not import anything: forked from this one, which has."""

import atexit
import importlib
import os
import pkgutil
import resource
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
OUTPUT, ERRORS = "output.txt", "errors.txt"
COMMANDS = {
    "kd-train": "train",
    "kd-eval": "evaluate",
    "kd-inspect": "inspect",
    "kd-report": "report",
    "kd-cache": "cache",
}


def import_all() -> None:
    """Import what the commands import, and so have each of them begin at once."""
    import kd_lightning

    for module in pkgutil.walk_packages(kd_lightning.__path__, "kd_lightning."):
        importlib.import_module(module.name)


@dataclass
class Process:
    """A command that runs as the first of a session in a folder, with what it says in two files there."""

    pid: int
    folder: Path
    code: int | None = None  # -9 of one that was killed

    def has_ended(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def wait(self, seconds: float) -> int:
        """Its exit code; a process that takes longer is killed, which the code tells."""
        end = time.monotonic() + seconds
        while not self.has_ended():
            if time.monotonic() > end:
                self.kill()
            time.sleep(0.002)
        assert self.code is not None
        return self.code

    def kill(self, all_of_it: bool = True) -> bool:
        """SIGKILL, to the data loader's workers, too, or not; whether it came before the end."""
        if not self.has_ended():
            if all_of_it:
                with suppress(ProcessLookupError):  # it has not come to make its session
                    os.killpg(self.pid, signal.SIGKILL)
            os.kill(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
            self.code = os.waitstatus_to_exitcode(status)
        return self.code == -signal.SIGKILL

    @property
    def output(self) -> str:
        return (self.folder / OUTPUT).read_text(errors="replace")

    @property
    def errors(self) -> str:
        return (self.folder / ERRORS).read_text(errors="replace")


def start(
    command: str,
    arguments: tuple[str, ...],
    folder: Path,
    environment: Mapping[str, str],
    *,
    imports: bool = False,
    largest_file: int | None = None,
) -> Process:
    """A command in a folder; with `imports` in a fresh interpreter, as a user's; a file may be limited in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
        become(command, arguments, folder, environment, imports)
    return Process(pid, folder)


def become(
    command: str, arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str], imports: bool
) -> None:
    """Be the command, and end with it."""
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ.pop("HYDRA_FULL_ERROR", None)
        os.environ.update({"WANDB_MODE": "offline", "WANDB_SILENT": "true", **environment})
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, OUTPUT), (2, ERRORS)):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), number)
        module = f"kd_lightning.commands.{COMMANDS[command]}"
        if imports:
            os.environ["PYTHONPATH"] = str(REPOSITORY)
            os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
        sys.argv = [command, *arguments]
        sys.path[:] = [str(REPOSITORY), *(path for path in sys.path if path)]
        importlib.import_module(module).main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
