"""The field's transfer test: a linear classifier on the frozen features of each network of a run, on other data."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra import compose
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor, nn

from kd_lightning.columns import Compared
from kd_lightning.config.checks.arguments import check_arguments
from kd_lightning.config.conf import plain
from kd_lightning.config.folder.stored_config import run_config
from kd_lightning.config.parts.task import task_of
from kd_lightning.config.refusals.bad_input import one_line
from kd_lightning.data import ImageDataModule
from kd_lightning.data.data import example_input
from kd_lightning.errors import UserError
from kd_lightning.experiment.comparison import read
from kd_lightning.experiment.experiment import data_of, experiment_of
from kd_lightning.inference.evaluation import Lookup, network_in, one_device
from kd_lightning.networks import Network
from kd_lightning.plans.follow import follow
from kd_lightning.runs.files import PROBES
from kd_lightning.runs.folder import checkpoint_name, finished
from kd_lightning.system.files import write_json
from kd_lightning.system.records import sound_record
from kd_lightning.tasks import Task
from kd_lightning.terminal import say, warn
from kd_lightning.training.probing.features import features_of, pooled_reader
from kd_lightning.training.probing.linear import fitted

KEY, OF_CONFIG = "probe", "data"
OTHERS = 10  # one in so many training images chooses the penalty where the data have none to validate on

Columns = list[tuple[str, dict[str, Any]]]  # titles, and records


def probe(config: DictConfig) -> tuple[Columns, Compared]:
    """What the networks of a run come to on the data that `probe` names, by their titles; kept in its folder.

    The networks stay as they are. Raises `UserError` for a run, or data, without images.
    """
    folder = Path(config.run).expanduser()
    run = run_config(config.run, config.trust)
    if config.data.root is not None:
        run.data.root = config.data.root
    data, task = data_of_probe(config, run)
    own = experiment_of(run)
    if not isinstance(own.data, ImageDataModule):
        raise UserError(f"{KEY}={config.probe.data}: shows other images to networks, and those of this run take none")
    networks = networks_of(run, folder, checkpoint_name(config.checkpoint, folder))
    device = one_device(run, config.trainer).strategy.root_device
    summary, found = finished(folder), dict[str, tuple[str, dict[str, Any]]]()
    for name, (described, network) in networks.items():
        known = None if summary is None else summary.network(name)
        title = name if known is None else known.title
        try:
            record = probed(described, network, own.data, own.task.width, data, task, device)
        except UserError as error:
            warn(f"{title}: is left out: {error}")
            continue
        found[name] = title, {"model": described.name, **record}
        say(title, f"{described.name}, {record['features']} features, penalty {record['penalty']:g}")
    if not found:
        raise UserError(f"{KEY}={config.probe.data}: none of the run's networks has features to be probed")
    keep(folder, data, {name: record for name, (_, record) in found.items()})
    return [*found.values()], task.compared()


def data_of_probe(config: DictConfig, run: DictConfig) -> tuple[ImageDataModule, Task]:
    """The data that `probe` names, read, and their task: a value of the group `data`, with other arguments.

    Raises `UserError` for data without images.
    """
    given = dict(plain(config.probe))
    name = given.pop("data")
    try:
        composed = compose("train", [f"{OF_CONFIG}={name}", f"seed={run.seed}"])
        with open_dict(composed):
            for key in ("data_dir", "cache_dir"):
                composed.paths[key] = run.paths[key]
            composed[OF_CONFIG] = OmegaConf.merge(composed[OF_CONFIG], given)
        check_arguments(composed[OF_CONFIG], OF_CONFIG)
        data = data_of(composed)
        data.check()
        read(data, composed)
        task = task_of(composed, data)
    except (UserError, HydraException) as error:
        raise UserError(re.sub(rf"(?<![\w.]){OF_CONFIG}(?=[.=])", KEY, one_line(error))) from error
    if not isinstance(data, ImageDataModule):
        raise UserError(f"{KEY}={name}: gives no images of classes; choose data that do, such as {KEY}=cifar10")
    return data, task


def networks_of(run: DictConfig, folder: Path, checkpoint: str) -> dict[str, tuple[Network, nn.Module]]:
    """The networks of a run that are one network each and on this machine, by name, and as an experiment names them."""
    experiment = experiment_of(run)
    data, parts = experiment.data, experiment.parts
    data.check()
    data.prepare_data()
    found = Lookup(parts, baselines=True)
    follow(experiment.plan.steps(parts), found.look)
    training = found.result()
    learners = {
        name: (one.network, network_in(folder, checkpoint, name, training, data))
        for name, one in training.learners.items()
    }
    return {**found.networks, **learners}


def probed(
    described: Network,
    network: nn.Module,
    own: ImageDataModule,
    width: int | None,
    data: ImageDataModule,
    task: Task,
    device: torch.device,
) -> dict[str, Any]:
    """A network's metrics with a linear classifier on its features of the data. Raises UserError without features."""
    assert task.width is not None
    tap = described.logits_tap()
    classes = described.other_classes(own) or width
    network = network.to(device).eval()
    example = example_input(own)
    assert isinstance(example, Tensor)
    reader = pooled_reader(network, example.to(device), tap["logits"] if isinstance(tap, dict) else "", classes)
    train, val = data.train_set, data.val_set
    if data.validates_on != "validation":
        rows = train.rows[torch.randperm(len(train), generator=torch.Generator().manual_seed(data.seed))]
        count = max(1, len(rows) // OTHERS)
        train, val = type(train)(train.images, rows[count:]), type(train)(train.images, rows[:count])
    try:
        parts = (train, val, data.test_set)
        seen, chosen, tested = (features_of(reader, data, part, own.input_shape, device) for part in parts)
    finally:
        reader.remove()
    classifier = fitted(seen, chosen, task.width)
    metrics = task.metrics("test").to(device)
    metrics.update(classifier(tested.features), tested.target)
    measured = {name: float(value) for name, value in metrics.compute().items()}
    return {**measured, "features": seen.features.shape[1], "penalty": classifier.penalty}


def keep(folder: Path, data: ImageDataModule, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what came out beside the run's evaluation, in place of what an earlier probe on the same data left."""
    before = sound_record(folder / PROBES, dict, "it is written anew", strict=True) or {}
    seen = {"images": data.sizes(), "seed": data.seed}
    write_json(folder / PROBES, {**before, data.name: {"data": seen, "networks": dict(records)}})
