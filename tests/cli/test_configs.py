"""Every value of every config group composes, and builds what it names."""

import copy
import functools
import re
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from kd_lightning.config.conf import conf_dir
from kd_lightning.config.parts.objects import make_callbacks
from kd_lightning.config.parts.optimizer import optimizer_from
from kd_lightning.config.resolvers import register_resolvers
from kd_lightning.objective import Term

GROUPS = sorted(path.name for path in conf_dir().iterdir() if path.is_dir() and path.name != "hydra")


def values(group: str) -> list[str]:
    folder = conf_dir() / group
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def composed(*overrides: str) -> DictConfig:
    return copy.deepcopy(composed_once(*overrides))


@functools.cache
def composed_once(*overrides: str) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", [*overrides, "paths.output_dir=run"])


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_known(group: str) -> None:
    assert values(group), "an empty group would be offered to users"


@pytest.mark.parametrize(("group", "value"), [(group, value) for group in GROUPS for value in values(group)])
def test_it_composes_without_open_references(group: str, value: str) -> None:
    config = composed(f"{group}={value}")
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    assert config.loss


@pytest.mark.parametrize("value", values("loss"))
def test_a_loss_is_a_term_by_its_own_name(value: str) -> None:
    config = composed(f"loss={value}")
    assert list(config.loss) == [value]
    assert isinstance(instantiate(config.loss[value]), Term)


@pytest.mark.parametrize("value", values("data"))
def test_data_builds(value: str) -> None:
    root = "data.root=somewhere" if value in ("folder", "imagenet") else "seed=0"
    assert isinstance(instantiate(composed(f"data={value}", root).data), LightningDataModule)


@pytest.mark.parametrize("value", values("optimizer"))
def test_an_optimizer_builds(value: str) -> None:
    optimizer = optimizer_from(composed(f"optimizer={value}").optimizer)([torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.Optimizer)


@pytest.mark.parametrize("value", values("scheduler"))
def test_a_schedule_builds(value: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = instantiate(composed(f"scheduler={value}").scheduler)(optimizer, 100)
    assert isinstance(schedule, torch.optim.lr_scheduler.LRScheduler)


@pytest.mark.parametrize("value", values("callbacks"))
def test_callbacks_build(value: str) -> None:
    made = make_callbacks(composed(f"callbacks={value}"), Path("run"))
    assert all(isinstance(callback, Callback) for callback in made.values())


@pytest.mark.parametrize("value", values("logger"))
def test_loggers_build(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for logger in composed(f"logger={value}").logger.values():
        assert isinstance(instantiate(logger), Logger)


@pytest.mark.parametrize("value", values("trainer"))
def test_a_trainer_builds(value: str) -> None:
    config = composed(f"trainer={value}").trainer
    if config.accelerator == "gpu" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    assert isinstance(instantiate(config, logger=False), Trainer)


@pytest.mark.parametrize("value", values("method"))
def test_a_method_says_where_it_comes_from(value: str) -> None:
    text = (conf_dir() / "method" / f"{value}.yaml").read_text()
    header = text.partition("defaults:")[0]
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|\d{4}, (AAAI|CVPR|ICLR), \"", header)
    assert re.search(r"\d·", header), "the combination of the terms"


@pytest.mark.parametrize("value", values("experiment"))
def test_an_experiment_says_what_is_expected_and_what_was_measured(value: str) -> None:
    header = (conf_dir() / "experiment" / f"{value}.yaml").read_text().partition("defaults:")[0]
    assert "Published" in header
    assert any(told in header for told in ("has not run it yet", "Run here so far", "Measured"))
