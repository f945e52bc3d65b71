"""Networks that need no training, measured once for all runs."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from kd_lightning.conversions import conversions_of
from kd_lightning.conversions.entries import in_key
from kd_lightning.models import stored_normalization
from kd_lightning.models.resolution import stored_image_size
from kd_lightning.models.stem import stored_stem
from kd_lightning.models.weights.weights import state_sha256
from kd_lightning.networks import Network
from kd_lightning.runs.arrays import read_arrays, write_arrays
from kd_lightning.runs.files import EVALUATION
from kd_lightning.store import CannotKeep, key_of
from kd_lightning.system.files import write_json
from kd_lightning.system.records import NONE, NUMBER, Each, read_record
from kd_lightning.terminal import is_first_rank, say, warn
from kd_lightning.training.context import Context
from kd_lightning.training.kept import ANEW, RECORD
from kd_lightning.training.keys import data_key, measured_by, of_source, trainer_shape
from kd_lightning.training.measuring import TestedNetwork, holds_all, is_sound, measure_alone
from kd_lightning.training.steps import Mean, Trained, mean_of


def measure_cached(
    network: nn.Module, key: dict[str, Any], taps: Mapping[str, str] | str, context: Context, owner: str
) -> TestedNetwork:
    """Metrics of a network, which this `key` decides, as an earlier run measured them, or measured now.

    `taps` name its logits where its output does not, `owner` is what the config calls it. Of several runs that need the
    same ones, the first measures and the others wait.
    """

    def read(home: Path) -> TestedNetwork | None:
        record = read_record(home / RECORD, {"test": Each((*NUMBER, NONE))}, strict=True)
        arrays = {} if record is None else read_arrays(home / EVALUATION)
        if record is None or not holds_all(record["test"], arrays, context.task):
            return None
        say(owner, f"measured before ({home.name})")
        return TestedNetwork(network, record["test"], arrays=arrays)

    def make(folder: Path) -> TestedNetwork:
        measured = measure_alone(network, context, taps, owner)
        if is_first_rank() and not (is_sound(measured.test) and is_kept(measured, folder, key, owner)):
            shutil.rmtree(folder, ignore_errors=True)
        return measured

    try:
        return context.store.obtain("measurements", key, make, read, ANEW)
    except CannotKeep as error:
        warn_of(error, Path(error.filename), owner)
        return measure_alone(network, context, taps, owner)


def is_kept(measured: TestedNetwork, folder: Path, key: dict[str, Any], owner: str) -> bool:
    """Write what was measured into a folder; a full disk is a warning."""
    try:
        write_arrays(folder / EVALUATION, measured.arrays)
        write_json(folder / RECORD, {"test": measured.test, "cache_key": key})
    except OSError as error:
        warn_of(error, folder, owner)
        return False
    return True


def warn_of(error: OSError, home: Path, owner: str) -> None:
    whose = owner.replace("_", " ")
    warn(f"paths.cache_dir: {home} takes no more ({error.strerror or error}); the metrics of {whose} are not kept")


def measurement_key(described: Network, network: nn.Module, context: Context) -> dict[str, Any]:
    """Everything that decides the metrics of a network, as plain values."""
    return key_of({**of_network(described, network), **of_measurement(context)}, context.settings["data"])


def measure_mean(step: Mean, context: Context) -> Trained:
    """The mean of trained networks, measured now or by an earlier run."""
    mean = step.around(context)
    members = [of_source(source) for source in mean.sources().values()]
    key = key_of_members(step.model, members, context)
    return Trained(step.name, step, measure_cached(mean, key, "auto", context, step.name), key=key)


def key_of_mean(
    described: Sequence[Network], networks: Sequence[nn.Module], context: Context, combined: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that decides the metrics of several networks together; `combined` is how, where not as their mean."""
    members = [of_network(one, network) for one, network in zip(described, networks, strict=True)]
    return key_of_members(mean_of([one.name for one in described]), members, context, combined)


def key_of_members(
    model: str,
    members: Sequence[Mapping[str, Any]],
    context: Context,
    combined: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """The same of what decides each of them; `model` is what tables call them together."""
    decided_by = {"model": model, "mean_of": [*members], **combined, **of_measurement(context)}
    return key_of(decided_by, context.settings["data"])


def of_network(described: Network, network: nn.Module) -> dict[str, Any]:
    return {
        **stored_image_size(network),  # as a file of weights may say it, whose weights are those of another
        **stored_stem(network),
        **described.named_model(),
        "weights": state_sha256(network),
        "normalization": stored_normalization(network),
        **in_key(conversions_of(network)),
        **described.named_logits(),
    }


def of_measurement(context: Context) -> dict[str, Any]:
    return {"trainer": trainer_shape(context.recipe), **data_key(context), "measured_by": measured_by(context)}
