"""What sources answer about all samples as they are, kept for all runs."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.curricula.answers import Keep
from kd_lightning.curricula.curriculum import Question
from kd_lightning.models.weights.weights import state_sha256
from kd_lightning.runs.arrays import read_arrays, write_arrays
from kd_lightning.sources import Source
from kd_lightning.store import key_of
from kd_lightning.store.keys import Key
from kd_lightning.system.files import write_json
from kd_lightning.system.records import Each, read_record
from kd_lightning.terminal import is_first_rank, say, warn
from kd_lightning.training.context import Context
from kd_lightning.training.keys import data_key, of_source, told

KIND, RECORD, VALUES = "scores", "record.json", "values.npz"
# What of a teacher's config says nothing of its answers: how they are kept, and what its weights tell.
TOLD = ("cache", "cache_bits", "cache_top_k", "optimizer", "scheduler", "trainer", "data", "loss", "weights", "trusted")

NO_SETTINGS = ("data", "values")  # of a question: whom it is told of, which is asked anew each time, and what it found


def keeping(context: Context) -> Keep:
    """Finds answers in the store, or has them made and keeps them there."""

    def keep(
        question: Question, sources: Mapping[str, Source], rounded: Sequence[str], part: str, make: Callable[[], Tensor]
    ) -> Tensor:
        key = key_of_answers(question, sources, [*rounded, *([] if part == "training" else [part])], context)

        def read(home: Path) -> Tensor | None:
            record = read_record(home / RECORD, {"cache_key": Each(object)}, strict=True)
            values = {} if record is None else read_arrays(home / VALUES)
            return torch.from_numpy(values["values"]) if "values" in values else None

        def made(folder: Path | None) -> Tensor:
            say(", ".join(sources), f"asked about all {part} samples ({type(question).__name__})")
            values = make()
            if folder is not None and is_first_rank() and not is_written(values, folder, key):
                shutil.rmtree(folder, ignore_errors=True)
            return values

        return context.store.obtain_or_make(KIND, key, made, read, "all samples are asked about anew")

    return keep


def is_written(values: Tensor, folder: Path, key: Key) -> bool:
    """Write answers into a folder; a full disk is a warning."""
    try:
        write_arrays(folder / VALUES, {"values": values.cpu().numpy()})
        write_json(folder / RECORD, {"cache_key": key})
    except OSError as error:
        warn(
            f"paths.cache_dir: {folder} takes no more ({error.strerror or error}); a curriculum's answers are not kept"
        )
        return False
    return True


def key_of_answers(question: Question, sources: Mapping[str, Source], rounded: Sequence[str], context: Context) -> Key:
    """Everything that decides them."""
    given = context.settings["teacher"]
    decided_by = {
        "of": settings_of(question),
        "sources": {name: of_source(source) for name, source in sources.items()},
        "built_from": {name: value for name, value in given.items() if name not in TOLD},
        "rounded": list(rounded),
        "precision": str(context.recipe.trainer.settings.get("precision", "32-true")),
        **data_key(context),
    }
    return key_of(decided_by, context.settings["data"])


def settings_of(question: Question) -> dict[str, Any]:
    """A question's class, whom it asks, and all that it was made with; of a network also its weights."""
    given = {name: value for name, value in vars(question).items() if name not in NO_SETTINGS}
    weights = {name: state_sha256(value) for name, value in given.items() if isinstance(value, nn.Module)}
    of_networks = {"weights of networks": weights} if weights else {}
    return {"_target_": told(type(question)), **told(given), **of_networks, "asks": list(question.asks)}
