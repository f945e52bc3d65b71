"""What a network was after some epochs of its training by itself, kept for all runs."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from kd_lightning.columns import VALIDATED
from kd_lightning.models import save_weights
from kd_lightning.module import DistillationModule
from kd_lightning.ranks import all_ranks_agree
from kd_lightning.runs.files import EVALUATION, checkpoint
from kd_lightning.sources import Anchor
from kd_lightning.store import CannotKeep
from kd_lightning.system.checksums import safetensors_fault
from kd_lightning.system.files import write_json
from kd_lightning.system.records import NONE, NUMBER, Each, damaged, read_record
from kd_lightning.terminal import is_first_rank, say, warn
from kd_lightning.training import kept
from kd_lightning.training.context import Context
from kd_lightning.training.fit import Fit
from kd_lightning.training.measuring import Metrics, validate, weights_in
from kd_lightning.training.steps import Training

KIND, RECORD = "anchors", "anchors.json"
OF_ANCHORS = {"anchors": [{"epoch": int, "measured": Each((*NUMBER, NONE))}], "cache_key": Each(object)}


def obtain(training: Training, epochs: Sequence[int], context: Context) -> list[Anchor]:
    """A network after these epochs of its training, and as that gave it: found, or trained now.

    Those that the training did not come to are left out, with a warning. Raises UserError where the store cannot be
    written.
    """
    if not epochs:
        kept.obtain(training, context)
        return [final(training, context)]
    key, store = key_of_anchors(training, epochs, context), context.store
    network, title = training.first.network, training.title

    def read(home: Path) -> list[Anchor] | None:
        found = anchors_in(home)
        if found is not None:
            say(title, f"{len(found)} anchors of {network.name}, found ({home.name})")
        return found

    def make(folder: Path) -> list[Anchor]:
        say(title, f"{network.name}, training for {len(epochs)} anchors ({folder.stem})")
        trained(training, epochs, context, folder, key)
        return []  # until they are in their place

    try:
        store.obtain(KIND, key, make, read, "the network is trained anew", goes_on=kept.has_checkpoints)
    except CannotKeep as error:
        raise kept.cannot_keep(error, f"anchors of {network.name}", KIND, store) from error
    all_ranks_agree(True)  # that the first one has put them there
    found = anchors_in(store.folder(KIND, key)) or []
    return [*found, final(training, context)]


def find(training: Training, epochs: Sequence[int], context: Context) -> list[Anchor]:
    """Those before the last one that an earlier run kept; none where they are not on this machine."""
    key = key_of_anchors(training, epochs, context)
    return context.store.find(KIND, key, anchors_in, "the same kd-train trains it anew") or []


def validated(metrics: Metrics) -> Metrics:
    """What was measured on validation data, by the metrics' own names."""
    return {name.removesuffix(VALIDATED): metrics[name] for name in metrics if name.endswith(VALIDATED)}


def key_of_anchors(training: Training, epochs: Sequence[int], context: Context) -> dict[str, Any]:
    """Everything that decides them, as plain values."""
    return {**kept.cache_key(training, context), "anchors": [*epochs]}


def final(training: Training, context: Context) -> Anchor:
    """A network as its training gave it, which is kept."""
    return Anchor(context.store.folder(kept.KIND, kept.cache_key(training, context)) / kept.WEIGHTS, "trained")


def file_of(epoch: int) -> str:
    return f"epoch_{epoch}.safetensors"


def anchors_in(home: Path) -> list[Anchor] | None:
    """What a folder holds; None where it is not described. Raises Damaged."""
    record = read_record(home / RECORD, OF_ANCHORS, strict=True)
    if record is None:
        return None
    found = []
    for one in record["anchors"]:
        file = home / file_of(one["epoch"])
        if (fault := safetensors_fault(file)) is not None:
            raise damaged(file, fault)
        found.append(Anchor(file, titled(one["epoch"]), one["measured"]))
    return found


def titled(epoch: int) -> str:
    return f"after {epoch} epoch{'s' if epoch > 1 else ''}"


def trained(training: Training, epochs: Sequence[int], context: Context, folder: Path, key: Mapping[str, Any]) -> None:
    """Train a network in a folder, keep what it was after these epochs there, and what it became where networks are."""
    own, network = kept.cache_key(training, context), training.first.network

    def take(done: Fit, module: DistillationModule) -> None:
        learner, data = module.network_of(module.learner), training.data
        last = {name: value.clone() for name, value in learner.state_dict().items()}
        measured: dict[int, Metrics] = {}
        for epoch in epochs:
            weights = weights_in(folder, named(epoch), "student")
            if weights is None:
                warn(f"{network.owner}: its training ended before epoch {epoch}, which is left out of its anchors")
                continue
            learner.load_state_dict(weights)
            measured[epoch] = validated(validate(done.trainer, module, data))
            if is_first_rank():
                save_weights(learner, folder / file_of(epoch), network.file_metadata(learner))
        learner.load_state_dict(last)
        if is_first_rank():
            listed = [{"epoch": epoch, "measured": found} for epoch, found in measured.items()]
            write_json(folder / RECORD, {"anchors": listed, "cache_key": dict(key)})

    kept.train(training, context, folder, own, [KeptEpochs(folder, epochs)], take)
    context.store.obtain(kept.KIND, own, lambda home: moved(folder, home), lambda home: True, "it is trained anew")
    if is_first_rank():
        for name in (kept.WEIGHTS, kept.RECORD, EVALUATION):
            (folder / name).unlink(missing_ok=True)


def moved(folder: Path, home: Path) -> bool:
    """Have a trained network lie where others look for it."""
    if is_first_rank():
        for name in (kept.WEIGHTS, kept.RECORD, EVALUATION):
            if (folder / name).exists():
                shutil.copyfile(folder / name, home / name)
    return True


def named(epoch: int) -> str:
    """The checkpoint after an epoch, below the checkpoints."""
    return f"anchor_{epoch}"


class KeptEpochs(Callback):
    """Keeps checkpoints of a training after these of its epochs, before the last checkpoint is written."""

    def __init__(self, folder: Path, epochs: Sequence[int]) -> None:
        self.folder, self.epochs = folder, epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch in self.epochs:
            trainer.save_checkpoint(self.folder / checkpoint(named(epoch)))
