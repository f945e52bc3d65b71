"""Networks trained once, ever: kept under a fingerprint of everything that shaped them."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning import seed_everything
from omegaconf import DictConfig
from torch import nn

from kd_lightning.conversions.entries import in_key
from kd_lightning.data import DataModule
from kd_lightning.errors import NonFinite, UserError
from kd_lightning.experiment.config import plain
from kd_lightning.experiment.networks.build import build_optimization, build_terms, module_around
from kd_lightning.experiment.networks.network import Network
from kd_lightning.experiment.recipe import in_its_batches
from kd_lightning.experiment.storage.keys import data_key, store_of
from kd_lightning.experiment.task import measured_by, supervised_loss, task_of, with_monitors
from kd_lightning.experiment.testing import (
    Metrics,
    TestedNetwork,
    holds_all,
    is_sound,
    load_selected,
    measure,
    measure_alone,
)
from kd_lightning.experiment.training import at, fit
from kd_lightning.models import save_weights
from kd_lightning.module import DistillationModule
from kd_lightning.objective import Objective, Term
from kd_lightning.ranks import all_ranks_agree
from kd_lightning.runs.arrays import sound_arrays, write_arrays
from kd_lightning.runs.files import CHECKPOINTS, EVALUATION, checkpoint
from kd_lightning.signals import takes_strong_view
from kd_lightning.store import CannotKeep, key_of
from kd_lightning.system.checksums import safetensors_fault
from kd_lightning.system.files import write_json
from kd_lightning.system.records import NONE, NUMBER, Each, damaged, sound_record
from kd_lightning.terminal import is_first_rank, say, warn
from kd_lightning.tracking.outcome import outcome_alone
from kd_lightning.tracking.results import log_results
from kd_lightning.tracking.wandb.logger import one_wandb_run

KIND, WEIGHTS, RECORD = "networks", "weights.safetensors", "record.json"
OF_A_NETWORK = {"test": Each((*NUMBER, NONE)), "time": Each(NUMBER), "cache_key": Each(object)}
ANEW = "it is measured anew"
# All of trainer and callbacks shapes the numbers, but for where it runs and what it shows or keeps.
SHAPELESS = ("accelerator", "log_every_n_steps", "enable_model_summary", "enable_progress_bar", "profiler")
SHAPELESS_CALLBACKS = (
    "progress_bar",
    "learning_rate",
    "gradient_norm",
    "device_memory",
    "checkpoint_last",
    "checkpoint_timed",
)


def obtain(
    role: str, network: Network, config: DictConfig, data: DataModule, logs: Path, began: DictConfig | None = None
) -> TestedNetwork:
    """The teacher, or as `scratch` the student alone: found, or trained now with its logs in a folder.

    It is the one that the run `began` with, if on other devices. Of several runs that need the same one, the first
    trains it and the others wait.

    Raises UserError where the cache lacks it and cannot be written.
    """
    title = "teacher" if role == "teacher" else "student alone"
    key, store = cache_key(network, began or config, data), store_of(config)
    config = network.by_itself(config)

    def read(home: Path) -> TestedNetwork | None:
        check_weights(home)
        say(title, f"{network.title}, found ({home.name})")
        return load(network, config, data, home)

    def make(folder: Path) -> TestedNetwork:
        say(title, f"{network.title}, training ({folder.stem})")
        return train(role, network, config, data, folder, logs, key)

    try:
        found = store.obtain(KIND, key, make, read, "the network is trained anew", goes_on=has_checkpoints)
    except CannotKeep as error:
        home = Path(error.filename)
        raise UserError(
            f"paths.cache_dir={store.root}: cannot be written ({error.strerror}), and has no {network.name} trained as "
            f"the {title} ({KIND}/{home.name}); choose another folder, there or in the environment as "
            "KD_LIGHTNING_CACHE"
        ) from error
    if all_ranks_agree(holds_all(found.test, found.arrays, task_of(config, data))):
        return found
    home = store.folder(KIND, key)
    with store.held(KIND, key):  # another run may have measured it meanwhile
        return with_all_metrics(title, as_measured(found.network, config, home), network, config, data, home, key)


def cache_key(network: Network, config: DictConfig, data: DataModule) -> dict[str, Any]:
    """Everything that shapes a network which a run trains by itself, as plain values."""
    config = network.by_itself(config)
    terms = network.own_terms(config)
    weights = network.weights if network.file is None else hashlib.sha256(network.file.read_bytes()).hexdigest()
    callbacks = without_places(plain(with_monitors(at(config, Path())).callbacks) or {})
    decided_by = {
        "model": network.model,
        "weights": weights,
        "weights_key": network.weights_key,
        "normalization": network.normalization,
        **network.named_logits(),
        **in_key(network.conversions),
        **({"loss": plain(supervised_loss(config))} if terms is None else of_terms(terms, config)),
        "optimizer": plain(config.optimizer),
        "scheduler": plain(config.scheduler),
        "trainer": trainer_shape(config),
        "callbacks": {name: value for name, value in callbacks.items() if name not in SHAPELESS_CALLBACKS},
        "seed": config.seed,
        **({} if config.get("on_nonfinite", "stop") == "stop" else {"on_nonfinite": config.on_nonfinite}),
        **data_key(config, data),
        "batches": {"size": config.data.get("batch_size", data.batch_size), **data.order()},
        "statistics": data.statistics(),
    }
    return key_of(decided_by, plain(config.data))


def of_terms(terms: DictConfig, config: DictConfig) -> dict[str, Any]:
    """Terms of a network's own, and the strong augmentation where they take images that have it."""
    strong = {"strong": plain(config.data.get("strong"))} if take_strong_views(terms) else {}
    return {"terms": plain(terms), **strong}


def take_strong_views(terms: DictConfig | None) -> bool:
    return terms is not None and takes_strong_view(Objective(build_terms(terms)).names())


def without_places(callbacks: dict[str, Any]) -> dict[str, Any]:
    """Callbacks without the folders that they write into, which a stored config has as they were."""
    kept: dict[str, Any] = {}
    for name, arguments in callbacks.items():
        is_mapping = isinstance(arguments, dict)
        kept[name] = {key: value for key, value in arguments.items() if key != "dirpath"} if is_mapping else arguments
    return kept


def trainer_shape(config: DictConfig) -> dict[str, Any]:
    """The trainer's arguments that shape numbers."""
    return {name: value for name, value in plain(config.trainer).items() if name not in SHAPELESS}


def find(network: Network, config: DictConfig, data: DataModule) -> nn.Module | None:
    """A network as an earlier run trained it, or None, and with a warning where that is damaged."""

    def read(home: Path) -> nn.Module | None:
        if not (home / RECORD).exists():
            return None
        check_weights(home)
        return network.at(home / WEIGHTS).build(data)

    key = cache_key(network, config, data)
    return store_of(config).find(KIND, key, read, "the same kd-train trains it anew")


def is_trained(network: Network, config: DictConfig, data: DataModule) -> bool:
    """Whether an earlier run has trained a network by itself as this config says."""
    home = store_of(config).folder(KIND, cache_key(network, config, data))
    return safetensors_fault(home / WEIGHTS) is None


def has_checkpoints(folder: Path) -> bool:
    """Whether a training left something to go on from."""
    return any(folder.glob(checkpoint("*")))


def check_weights(home: Path) -> None:
    """Raise `Damaged` unless they are as they were written."""
    if (fault := safetensors_fault(home / WEIGHTS)) is not None:
        raise damaged(home / WEIGHTS, fault)


def load(described: Network, config: DictConfig, data: DataModule, home: Path) -> TestedNetwork:
    """A network from its folder, without metrics where what holds them is damaged, not there, or of another task."""
    return as_measured(described.at(home / WEIGHTS).build(data), config, home)


def as_measured(network: nn.Module, config: DictConfig, home: Path) -> TestedNetwork:
    """A network with what its folder tells of it."""
    record = sound_record(home / RECORD, OF_A_NETWORK, ANEW, strict=True)
    arrays = sound_arrays(home / EVALUATION, ANEW)
    if record is None or record.get("measured_by") != measured_by(config):
        return TestedNetwork(network, {})
    return TestedNetwork(network, record["test"], record["time"], arrays)


def with_all_metrics(
    title: str,
    found: TestedNetwork,
    network: Network,
    config: DictConfig,
    data: DataModule,
    home: Path,
    key_values: dict[str, Any],
) -> TestedNetwork:
    """A found network as it is, or where its record is damaged or older than a metric measured anew, and kept so."""
    if all_ranks_agree(holds_all(found.test, found.arrays, task_of(config, data))):
        return found
    reason = "a metric is newer than its record" if found.test else "its record is of another task, or not whole"
    say(title, f"measured anew: {reason}")
    measured = measure_alone(config, found.network, data, network.logits_tap())
    if is_first_rank():
        try:
            write_arrays(home / EVALUATION, measured.arrays)
            write_json(home / RECORD, record_of(measured.test, found.time, key_values, config))
        except OSError as error:
            warn(f"paths.cache_dir: {home} cannot be written ({error.strerror or error}); its metrics are not kept")
    return replace(measured, time=found.time)


def train(
    role: str,
    network: Network,
    config: DictConfig,
    data: DataModule,
    folder: Path,
    logs: Path,
    key_values: dict[str, Any],
) -> TestedNetwork:
    """Train a network by itself in a folder, where an interrupted training is taken up again.

    Raises NonFinite for one whose outputs are not finite.
    """
    data = data_alone(network, config, data)
    module = module_alone(network, config, data)
    with one_wandb_run():
        done = fit(config, module, data, folder, logs, role, network.title)
        load_selected(module, data, folder)
        metrics, arrays = measure(done.trainer, module, data)
        if not is_sound(metrics):
            raise NonFinite(f"{network.owner}: its logits on the test set are not finite, so it is not kept")
        trained = TestedNetwork(module.student, metrics, done.time, arrays)
        if done.trainer.is_global_zero:
            save_weights(module.student, folder / WEIGHTS, network.file_metadata(module.student))
            write_arrays(folder / EVALUATION, arrays)
            write_json(folder / RECORD, record_of(metrics, done.time, key_values, config))
            log_results(done.trainer.loggers, outcome_alone(metrics, {**arrays, **module.task.constants(data)}))
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return trained


def record_of(
    test: Metrics, time: Mapping[str, float], key_values: dict[str, Any], config: DictConfig
) -> dict[str, Any]:
    """What is told beside a network's weights."""
    return {"test": test, "time": time, "measured_by": measured_by(config), "cache_key": key_values}


def data_alone(network: Network, config: DictConfig, data: DataModule) -> DataModule:
    """What a network is trained on by itself, with the config of that training."""
    data = in_its_batches(network.alone, config, data)
    return data if take_strong_views(network.own_terms(config)) else data.without_strong_views()


def module_alone(network: Network, config: DictConfig, data: DataModule) -> DistillationModule:
    """What trains a network by itself, by the config of that training; its random weights come from the seed alone."""
    seed_everything(config.seed, workers=True, verbose=False)
    task = task_of(config, data)
    terms = network.own_terms(config)
    if terms is not None:
        return module_around(network.build(data), network, build_terms(terms, f"{network.alone}.loss"), config, data)
    given = config.loss.get(task.supervised)
    loss = instantiate(given.loss) if given else task.loss()
    return DistillationModule(
        student=network.build(data),
        terms={task.supervised: Term(loss, ["student.logits", "target"])},
        **build_optimization(config),
        student_taps=network.logits_tap(),
        task=task,
    )
