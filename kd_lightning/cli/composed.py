"""How a task runs on the config that Hydra composes for a command, or on those of a multirun."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from kd_lightning.cli.command_line import readable
from kd_lightning.config.composition import compose_own_configs_first
from kd_lightning.config.conf import conf_dir
from kd_lightning.config.folder.run_folder import discard_empty_run
from kd_lightning.config.refusals.bad_input import BAD_INPUT, of_command_line, one_line
from kd_lightning.config.refusals.os_errors import current_folder, disk_failure, refusal
from kd_lightning.config.resolvers import register_resolvers
from kd_lightning.errors import DiskFailure, NonFinite, UserError
from kd_lightning.runs.folder import sweep_goes_on
from kd_lightning.system.cpu import set_wait_policy
from kd_lightning.system.disk import is_of_the_disk, thread_disk_errors
from kd_lightning.system.interruption import Interrupted, interruption, leave
from kd_lightning.system.peers import peers
from kd_lightning.system.process import at_end, environment

compose_own_configs_first()
FULL_ERROR = "HYDRA_FULL_ERROR"


def is_sweep_job() -> bool:
    """Whether this is a job of a multirun, run by its launcher."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def prepare_process() -> None:
    """What configs and training need of a process."""
    register_resolvers()
    if current_folder() not in sys.path:
        sys.path.append(current_folder())  # last, so that it hides nothing: a user's own classes for `_target_`
    set_wait_policy()


def refuse_multirun_of_config() -> None:
    """Raise `UserError` for -m with --cfg, of which Hydra takes one alone."""
    flags = {*sys.argv[1:]}
    if flags & {"-m", "--multirun"} and flags & {"-c", "--cfg"}:
        raise UserError("--cfg: shows the config of one run; leave -m and the values separated by commas away")


def run_to_the_end(task: Callable[[DictConfig], object], config_name: str) -> None:
    """Run a command, and end the process where something goes wrong.

    Bad input ends with exit code 2; a training whose numbers go wrong, and a disk that takes no more, with 1. Each is
    one line; with HYDRA_FULL_ERROR=1 in the environment it is a traceback.
    """
    peers.follow_parent()
    failures = run(task, config_name)
    if not failures:
        peers.close()
        return
    went_wrong = isinstance(failures[0], (NonFinite, DiskFailure)) or is_of_the_disk(failures[0].__cause__)
    code = 1 if went_wrong else 2
    if peers.reports(code):
        if os.environ.get(FULL_ERROR) == "1":
            raise failures[0]
        for failure in failures:
            print(f"error: {one_line(failure)}", file=sys.stderr)
    sys.exit(code)


def run(task: Callable[[DictConfig], object], config_name: str) -> list[Exception]:
    """Compose the config, or those of a multirun, and run the task on each; returns what went wrong."""
    failures: list[Exception] = []
    asked = os.environ.get(FULL_ERROR)
    begun = False

    def job(config: DictConfig) -> object:
        nonlocal begun
        begun = True
        if HydraConfig.get().job.chdir:  # relative paths count from where the command was typed
            os.chdir(HydraConfig.get().runtime.cwd)
        prepare_process()  # a launcher may run the job in another one
        try:
            with environment(FULL_ERROR, asked):  # for the ranks that a strategy launches
                return task(config)
        except BAD_INPUT as error:
            if is_sweep_job() and is_of_the_disk(error.__cause__):
                goes_on = sweep_goes_on(HydraConfig.get().sweep.dir)
                raise Stopped(f"{one_line(error)}, then {goes_on}") from error
            discard_empty_run()
            failures.append(error)
            return None
        except NonFinite as error:
            failures.append(error)
            return None
        except Exception as error:
            failure = refusal_of(error)
            if failure is None:
                if isinstance(error, RuntimeError):
                    peers.because_of_others()
                if not peers.reports(1):
                    leave(1)
                raise
            if not isinstance(failure, DiskFailure):
                discard_empty_run()
            elif is_sweep_job():  # the other jobs would fail as well
                raise Stopped(str(failure)) from error
            failures.append(failure)
            return None

    with (
        interruption.handled(),
        at_end,
        environment(FULL_ERROR, "1"),
        thread_disk_errors() as errors,
    ):
        try:  # without FULL_ERROR Hydra prints errors itself, and exits with 1
            prepare_process()
            refuse_multirun_of_config()
            sys.argv[1:] = readable(sys.argv[1:])
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(job)()
            failures.extend(found for error in errors if not failures and (found := refusal_of(error)) is not None)
        except BAD_INPUT as error:
            failures.append(error)
        except Stopped as stopped:
            failures.append(stopped.failure)
        except Interrupted:
            if interruption.signal is not None:
                peers.interrupted(interruption.signal)
            if not interruption.is_reported and interruption.signal is not None:
                interruption.report(interruption.signal)
            raise
        except BrokenPipeError:  # whoever reads the output, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Exception as error:  # whatever the system or Hydra say of what was typed
            found = refusal_of(error)
            if found is None and begun:
                raise
            failures.append(found or of_command_line(error, sys.argv[1:]))
    return failures


class Stopped(SystemExit):
    """Ends a multirun before its last job, whatever launcher runs it: for a disk that takes no more."""

    def __init__(self, line: str) -> None:
        super().__init__(line)
        self.failure = DiskFailure(line)


def refusal_of(error: BaseException) -> Exception | None:
    """What a disk says, or what is wrong with a path that the command line gave."""
    run: Path | None
    if is_sweep_job():
        run, goes_on = Path(HydraConfig.get().runtime.output_dir), sweep_goes_on(HydraConfig.get().sweep.dir)
    else:
        run, goes_on = interruption.run, interruption.remedy or "run the same command again"
    failure = disk_failure(error, run, goes_on)
    return failure or (refusal(error, sys.argv[1:]) if isinstance(error, OSError) else None)
