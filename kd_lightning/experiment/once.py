"""Networks trained once, ever: kept under a fingerprint of everything that shaped them."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning import seed_everything
from omegaconf import DictConfig, OmegaConf

from kd_lightning import __version__
from kd_lightning.data import ImageDataModule
from kd_lightning.experiment.build import build_network, file_metadata
from kd_lightning.experiment.training import TestedNetwork, fit, load_selected, test
from kd_lightning.models import load_weights, save_weights
from kd_lightning.module import DistillationModule
from kd_lightning.objective import Term
from kd_lightning.tracking.wandb import one_wandb_run

# Everything in the trainer's config shapes the numbers, but for where it runs and what it shows.
SHAPELESS = ("accelerator", "log_every_n_steps", "enable_model_summary", "enable_progress_bar", "profiler")
PLAIN_CROSS_ENTROPY = OmegaConf.create({"_target_": "kd_lightning.losses.CrossEntropy"})


def shaped_by(settings: DictConfig, config: DictConfig, data: ImageDataModule) -> dict[str, Any]:
    """Everything that shapes a network which is trained by itself, as plain values."""
    parts = {
        "network": {name: settings[name] for name in ("model", "weights", "normalization")},
        "loss": cross_entropy(config),
        "optimizer": config.optimizer,
        "scheduler": config.scheduler,
        "trainer": {name: value for name, value in config.trainer.items() if name not in SHAPELESS},
        "seed": config.seed,
        "data": data.fingerprint(),
        "version": __version__,
    }
    plain = OmegaConf.to_container(OmegaConf.create(parts), resolve=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def fingerprint(shape: dict[str, Any]) -> str:
    """16 hexadecimal digits that stand for plain values."""
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]


def find(settings: DictConfig, config: DictConfig, data: ImageDataModule) -> TestedNetwork | None:
    """The network as an earlier run trained it, or None."""
    folder = home(config) / fingerprint(shaped_by(settings, config, data))
    if not (folder / "record.json").exists():
        return None
    network = build_network("student", settings, data)
    load_weights(network, folder / "weights.safetensors", key="weights")
    record = json.loads((folder / "record.json").read_text())
    return TestedNetwork(network, record["test"], record["time"])


def train(settings: DictConfig, config: DictConfig, data: ImageDataModule) -> TestedNetwork:
    """Train the network with cross-entropy alone and keep it; an interrupted training is taken up again."""
    shape = shaped_by(settings, config, data)
    unfinished = home(config) / f"{fingerprint(shape)}.unfinished"
    unfinished.mkdir(parents=True, exist_ok=True)
    seed_everything(config.seed, workers=True, verbose=False)
    module = DistillationModule(
        student=build_network("student", settings, data),
        terms={"ce": Term(instantiate(cross_entropy(config)), ["student.logits", "target"])},
        optimizer=instantiate(config.optimizer),
        scheduler=instantiate(config.scheduler) if config.scheduler else None,
        num_classes=data.num_classes,
    )
    with one_wandb_run():
        done = fit(config, module, data, unfinished)
        load_selected(module, data, unfinished)
        trained = TestedNetwork(module.student, test(done.trainer, module, data), done.time)
    if done.trainer.is_global_zero:
        save_weights(trained.network, unfinished / "weights.safetensors", file_metadata(settings, trained.network))
        record = {"test": trained.test, "time": trained.time, "shaped_by": shape}
        (unfinished / "record.json").write_text(json.dumps(record, indent=2))
        _publish(unfinished)
    return trained


def cross_entropy(config: DictConfig) -> DictConfig:
    """The run's own cross-entropy, or the plain one where the run has none."""
    return config.loss.ce.loss if config.loss.get("ce") else PLAIN_CROSS_ENTROPY


def home(config: DictConfig) -> Path:
    """The folder of all networks that were trained once."""
    return Path(config.paths.cache_dir).expanduser() / "networks"


def _publish(unfinished: Path) -> None:
    """Make a finished network visible in one rename; one that is there already is the same network."""
    shutil.rmtree(unfinished / "checkpoints", ignore_errors=True)
    try:
        os.replace(unfinished, unfinished.with_suffix(""))
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
