"""A config's values are of the kinds that a class takes, and of several the one that is wrong is found."""

from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from kd_lightning.config.checks.arguments import check_arguments
from kd_lightning.config.parts.instantiation import make
from kd_lightning.errors import UserError

SGD = {"_target_": "torch.optim.SGD", "_partial_": True}


@pytest.mark.parametrize(
    "part",
    [
        {**SGD, "lr": 1, "fused": None, "nesterov": False},
        {"_target_": "torch.optim.AdamW", "_partial_": True, "betas": [0.9, 0.999]},
        {"_target_": "lightning.Trainer", "devices": [0, 1], "precision": "16-mixed", "max_epochs": None},
        {"_target_": "lightning.Trainer", "devices": "auto", "limit_val_batches": 0.5, "max_time": {"hours": 1}},
        {"_target_": "lightning.Trainer", "strategy": {"_target_": "lightning.pytorch.strategies.DDPStrategy"}},
        {"_target_": "tests.experiment.test_own_classes.OwnNetwork", "width": "what a user's class takes, it tells"},
        {"not a call": [1, {"nor": "this"}]},
    ],
    ids=str,
)
def test_what_a_class_takes_is_taken(part: dict[str, Any]) -> None:
    check_arguments(OmegaConf.create(part), "part")


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({**SGD, "lr": "fast"}, ["part.lr=fast", "a number"]),
        ({**SGD, "momentum": float("nan")}, ["part.momentum=nan", "a number"]),
        ({**SGD, "lr": True}, ["part.lr=True", "a number"]),
        ({**SGD, "nesterov": None}, ["part.nesterov=None", "true or false"]),
        ({**SGD, "learning_rate": 1}, ["part.learning_rate=1", "no such argument", "momentum"]),
        ({**SGD, "momentun": 1}, ["part.momentun=1", "did you mean momentum?"]),
        ({"_target_": "lightning.Trainer", "max_epochs": 1.5}, ["part.max_epochs=1.5", "a whole number"]),
        ({"_target_": "lightning.Trainer", "devices": {}}, ["part.devices={}"]),
        ({"_target_": "lightning.Trainer", "profiler": 3}, ["part.profiler=3", "_target_"]),
        ({"inner": [{"_target_": "torch.no.Such"}]}, ["part.inner._target_=torch.no.Such", "not found"]),
        ({"_target_": None}, ["part._target_=None"]),
    ],
    ids=str,
)
def test_what_it_does_not_take_is_refused(part: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as raised:
        check_arguments(OmegaConf.create(part), "part")
    assert all(word in str(raised.value) for word in words), str(raised.value)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 8, "kernel_size": 3, "groups": 2}, "groups"),
        ({"_target_": "fractions.Fraction", "numerator": 1, "denominator": 0}, "part.denominator=0"),
        ({"_target_": "torch.nn.Linear", "in_features": 3}, "part._target_=torch.nn.Linear"),
    ],
    ids=str,
)
def test_the_argument_that_an_object_fails_for_is_named(part: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make(OmegaConf.create(part), "part", instantiate)
