"""Networks that need no training, measured once for all runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import nn

from kd_lightning import __version__
from kd_lightning.data import DataModule
from kd_lightning.experiment.networks.network import Network
from kd_lightning.experiment.ranks.first_rank import all_ranks_agree, first_rank_holds
from kd_lightning.experiment.storage.keys import cache_folder, data_key
from kd_lightning.experiment.storage.networks import ANEW, trainer_shape
from kd_lightning.experiment.storage.source_code import own_code
from kd_lightning.experiment.task import measured_by, task_of
from kd_lightning.experiment.testing import Metrics, TestedNetwork, holds_all, is_sound, measure_alone
from kd_lightning.models import stored_normalization
from kd_lightning.models.weights.weights import state_sha256
from kd_lightning.store.folders import lock_beside
from kd_lightning.system.files import write_json
from kd_lightning.system.records import NONE, NUMBER, Each, sound_record
from kd_lightning.terminal import is_first_rank, say, warn
from kd_lightning.tracking.arrays import NAME, sound_arrays, write_arrays


def measure_cached(
    network: nn.Module,
    key: dict[str, Any],
    taps: Mapping[str, str] | str,
    config: DictConfig,
    data: DataModule,
) -> TestedNetwork:
    """Metrics of a network, which this `key` decides, as an earlier run measured them, or measured now.

    `taps` name its logits where its output does not. Of several runs that need the same ones, the first measures and
    the others wait.
    """
    home = cache_folder("measurements", key, config)
    with first_rank_holds(lock_beside(home)):
        kept = read_metrics(home)
        arrays = {} if kept is None else sound_arrays(home / NAME, ANEW)
        if all_ranks_agree(bool(kept is not None and holds_all(kept, arrays, task_of(config, data)))):
            assert kept is not None
            say("teacher", f"measured before ({home.name})")
            return TestedNetwork(network, kept, arrays=arrays)
        measured = measure_alone(config, network, data, taps)
        if is_first_rank() and is_sound(measured.test):
            keep(measured, home, key)
    return measured


def read_metrics(home: Path) -> Metrics | None:
    """The metrics in a folder, or None, and with a warning where they are damaged."""
    record = sound_record(home / "record.json", {"test": Each((*NUMBER, NONE))}, ANEW, strict=True)
    return None if record is None else record["test"]


def keep(measured: TestedNetwork, home: Path, key: dict[str, Any]) -> None:
    """Write what was measured into its folder; a full disk is a warning."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        write_arrays(home / NAME, measured.arrays)
        record = {"test": measured.test, "cache_key": key}
        write_json(home / "record.json", record)
    except OSError as error:
        warn(f"paths.cache_dir: {home} takes no more ({error.strerror or error}); the teacher's metrics are not kept")


def measurement_key(described: Network, network: nn.Module, config: DictConfig, data: DataModule) -> dict[str, Any]:
    """Everything that decides the metrics of a network, as plain values."""
    return {**of_network(described, network), **of_measurement([described], config, data)}


def key_of_mean(
    described: Sequence[Network], networks: Sequence[nn.Module], config: DictConfig, data: DataModule
) -> dict[str, Any]:
    """Everything that decides the metrics of the mean of several networks."""
    members = [of_network(one, network) for one, network in zip(described, networks, strict=True)]
    return {"mean_of": members, **of_measurement(described, config, data)}


def of_network(described: Network, network: nn.Module) -> dict[str, Any]:
    return {
        "model": described.model,
        "weights": state_sha256(network),
        "normalization": stored_normalization(network),
        **described.named_logits(),
    }


def of_measurement(described: Sequence[Network], config: DictConfig, data: DataModule) -> dict[str, Any]:
    return {
        "trainer": trainer_shape(config),
        **data_key(config, data),
        "own_code": own_code(*(one.model for one in described), config.data),
        "measured_by": measured_by(config),
        "version": __version__,
    }
