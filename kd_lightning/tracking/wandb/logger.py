"""Weights & Biases: one run for one training."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from kd_lightning.errors import UserError
from kd_lightning.runs.files import RUN_OF_WANDB
from kd_lightning.system.files import write_json
from kd_lightning.system.records import Each, sound_record
from kd_lightning.terminal import say, warn
from kd_lightning.tracking.description import Description

NAMED = ("id", "name", "group", "job_type", "tags")
MODE = "WANDB_MODE"
WATCHED = ("gradients", "parameters", "all")
TEXTS = ("name", "version", "project", "id", "prefix", "entity", "group", "job_type", "notes")
INIT_TIMEOUT_S = "20"  # for the server's first answer; WANDB_INIT_TIMEOUT in the environment says otherwise
FINISH_TIMEOUT_S = "300"  # for sending what is left at the end; so does WANDB_FINISH_TIMEOUT


class TrainingWandbLogger(WandbLogger):
    """Lightning's logger, for one training of an experiment.

    A training that is taken up again goes on in its own run. Where the server cannot be reached, or refuses the key,
    this and further runs of the process go on offline: one warning, no question, and `wandb sync` sends them later.

    Args:
        save_dir: where its data go.
        watch: `gradients`, `parameters` or `all`: histograms of the student's, every 100 steps; None for none.
        arguments: Lightning's own, and those of `wandb.init`. Name, group and tags come from the training where they
            are not given; given tags stand beside its own.

    Raises UserError for values that Weights & Biases does not take.
    """

    def __init__(
        self,
        save_dir: str | Path = ".",
        watch: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        **arguments: Any,
    ) -> None:
        import wandb

        if watch not in (None, *WATCHED):
            raise UserError(f"watch={watch}: must be one of {', '.join(WATCHED)}, or null")
        for name, value in {**arguments, "entity": entity, "group": group}.items():
            if name in TEXTS and value is not None and not isinstance(value, str):
                raise UserError(f"{name}={value}: must be a text, or null")
        settings = wandb.Settings(
            silent=True,  # it would tell the same in ten lines
            init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT", INIT_TIMEOUT_S)),
            finish_timeout=float(os.environ.get("WANDB_FINISH_TIMEOUT", FINISH_TIMEOUT_S)),
        )
        # Absolute, for another process writes there, which may have begun in another folder.
        arguments |= {"entity": entity, "group": group, "tags": list(tags)}
        super().__init__(save_dir=Path(save_dir).resolve(), settings=settings, **arguments)
        self._wandb_init.pop("anonymous")  # of no effect any more, says a warning
        self._histograms = watch
        self._record: Path | None = None

    def describe(self, training: Description, folder: Path, resumed: bool) -> None:
        """Name the run after its training, before it begins; where this is `resumed`, it is the one in `folder`."""
        given = {name: value for name, value in self._wandb_init.items() if value}
        named = {"name": training.name, "group": training.group, "job_type": training.role} | given
        named["tags"] = list(dict.fromkeys([*training.tags, *given.get("tags", [])]))
        self._wandb_init |= named
        if resumed:
            self.resume(folder)
        if is_of_an_agent():
            self._wandb_init |= {"id": None, "project": None, "entity": None}  # the agent has chosen these
        self._record = folder / RUN_OF_WANDB

    def resume(self, folder: Path) -> bool:
        """Go on in the run of the training in `folder`; False where that had none."""
        record = sound_record(folder / RUN_OF_WANDB, Each(object), "it goes on in a run of its own there")
        self._wandb_init |= record or {}
        return record is not None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run of Weights & Biases, which begins where it is asked for first."""
        if self._experiment is None:
            self._begin()
        return self._experiment

    def _begin(self) -> None:
        """Begin the run as the environment says; where this fails offline, and where that fails too not at all."""
        Path(self._save_dir or ".").mkdir(parents=True, exist_ok=True)  # which it would warn of
        for mode in ("offline" if self._offline else os.environ.get(MODE), "offline", "disabled"):
            self._wandb_init["mode"] = mode
            try:
                with no_questions():
                    run = super().experiment
                break
            except Exception as error:  # whatever it is, the training matters more
                if mode == "disabled":
                    raise
                reason = " ".join(str(error).split())
                going_on = "without it" if mode == "offline" else "offline"
                warn(f"Weights & Biases: {reason}; the training goes on {going_on}")
                os.environ[MODE] = "offline"
        if run.disabled:
            return
        if self._record is not None:
            self._record.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._record, {name: getattr(run, name) for name in NAMED})
        say("wandb", f"offline, wandb sync {Path(run.dir).parent}" if run.offline else str(run.url))

    @rank_zero_only
    def log_graph(self, model: Any, *_: Any) -> None:
        """What a trainer calls as it begins to fit or to test: from the first fit on, watch the student if asked to."""
        if self._histograms and not self.experiment.disabled:
            self.watch(model.student, log=self._histograms)
            self._histograms = None  # Weights & Biases takes a network once


def is_of_an_agent() -> bool:
    """Whether this process was started by an agent of Weights & Biases, for one run that this has chosen."""
    return "WANDB_SWEEP_ID" in os.environ


@contextmanager
def no_questions() -> Iterator[None]:
    """Let nobody ask the user for a key: a training does not wait for an answer."""
    before = sys.stdin
    with open(os.devnull) as nobody:
        sys.stdin = nobody
        try:
            yield
        finally:
            sys.stdin = before


@contextmanager
def one_wandb_run() -> Iterator[None]:
    """End whatever Weights & Biases run the block began, as failed where the block raises.

    Without this the next training of the same process would go on in it.
    """
    exit_code = 1
    try:
        yield
        exit_code = 0
    finally:
        if "wandb" in sys.modules:
            import wandb

            if wandb.run is not None:
                wandb.finish(exit_code=exit_code)
