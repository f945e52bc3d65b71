"""What Hydra calls around a multirun; conf/hydra/train.yaml names it."""

import logging
import sys
import traceback
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from kd_lightning.config.refusals.bad_input import BAD_INPUT, one_line
from kd_lightning.config.refusals.os_errors import disk_failure, refusal
from kd_lightning.runs.files import MULTIRUN
from kd_lightning.runs.folder import sweep_goes_on
from kd_lightning.runs.planned import write_planned
from kd_lightning.sweeps.guard import claim
from kd_lightning.sweeps.plan import discard_empty_sweep, make_plan, searches
from kd_lightning.sweeps.progress import Progress
from kd_lightning.system.disk import is_of_the_disk
from kd_lightning.system.files import set_aside_folder, write_text
from kd_lightning.system.interruption import interruption
from kd_lightning.system.process import at_end
from kd_lightning.terminal import AS_IT_IS

TALKERS = ("hydra", "hydra_plugins", "alembic")
INTERRUPTED = 130  # the exit code of a command that Ctrl-C has ended


class Sweep(Callback):
    """Before a multirun's first job its plan and its line of progress, after its last the selection.

    Hydra turns an exception raised here into a warning, so a sweep that cannot go on is ended by `sys.exit`.
    """

    def __reduce__(self) -> tuple[type["Sweep"], tuple[()]]:
        return Sweep, ()  # launchers send it to the jobs' processes, which need none of its state

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        keep_quiet(config)
        folder = Path(config.hydra.sweep.dir)
        try:
            at_end.callback(claim(folder).release)
            at_end.callback(discard_empty_sweep, folder)
            self.plan = make_plan(config)
            write_planned(folder, self.plan.planned)
            # As Hydra's own sweeper does, but not others.
            set_aside_folder(folder / MULTIRUN)
            write_text(folder / MULTIRUN, OmegaConf.to_yaml(config))
        except (*BAD_INPUT, OSError) as error:
            end_if_the_disk_is_why(error, folder)
            refused = refusal(error, sys.argv[1:], str(folder)) if isinstance(error, OSError) else error
            if refused is None:
                raise
            print(f"error: {one_line(refused)}", file=sys.stderr)
            sys.exit(1 if is_of_the_disk(refused) else 2)
        self.console = Console(file=sys.stdout, **AS_IT_IS)  # this one, while the jobs write elsewhere
        self.progress = Progress(self.plan, self.console)
        self.completed = False
        interruption.is_reported, interruption.remedy = True, sweep_goes_on(folder)  # by `stop`
        at_end.push(self.stop)
        self.progress.start()

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        self.completed = True
        self.progress.stop()
        try:
            from kd_lightning.sweeps.end import conclude

            complete = conclude(self.plan, self.console)
        except BAD_INPUT as error:
            print(f"error: {one_line(error)}", file=sys.stderr)
            sys.exit(2)
        except Exception as error:
            end_if_the_disk_is_why(error, self.plan.folder)
            traceback.print_exc()
            sys.exit(1)
        if not complete:
            sys.exit(1)

    def stop(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        """However the command ends; where that is before its last job it says how to go on, of Ctrl-C nothing else."""
        self.progress.stop()
        if error is not None and not self.completed:
            self.progress.report_stopped()
        if isinstance(error, KeyboardInterrupt):
            sys.exit(INTERRUPTED)


def end_if_the_disk_is_why(error: Exception, folder: Path) -> None:
    """Say so in one line, and how the sweep goes on."""
    failure = None if isinstance(error, BAD_INPUT) else disk_failure(error, None, sweep_goes_on(folder))
    if failure is not None:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(1)


def keep_quiet(config: DictConfig) -> None:
    """Only warnings from Hydra and its plugins, whose other lines would break the line of progress."""
    for name in TALKERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    if searches(config.hydra.sweeper):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the older SQLAlchemy that optuna needs
            import optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
