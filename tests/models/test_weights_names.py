"""Weights whose names are not the model's: prefixes, and what a user says is called otherwise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.models import load_weights, state_sha256
from tests.conftest import Command
from tests.models.test_weights import State, network, prefixed

CRITERION = {"criterion.weight": torch.ones(10)}


def rest(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def head(state: State, name: str) -> State:
    return {f"{name}.{part}": state[f"fc.{part}"] for part in ("weight", "bias")}


def around(state: State) -> State:
    return prefixed("backbone.", rest(state)) | head(state, "classifier")


def loads(layout: Any, folder: Path, **options: Any) -> str:
    torch.save(layout, folder / "w.pth")
    model = network(seed=2)
    load_weights(model, folder / "w.pth", "teacher.weights", **options)
    return state_sha256(model)


PREFIXES: dict[str, Callable[[State], Any]] = {
    "Hugging Face's wrapper of timm": lambda state: prefixed("timm_model.", state),
    "a module around it": lambda state: prefixed("net.backbone.", state),
    "data parallel in a module": lambda state: prefixed("model.module.", state),
    "many": lambda state: prefixed("a.b.c.d.e.", state),
    "beside a loss": lambda state: {"state_dict": prefixed("net.backbone.", state) | CRITERION},
}


@pytest.mark.parametrize("form", PREFIXES)
def test_a_prefix_is_removed(form: str, tmp_path: Path) -> None:
    one = network(seed=1)
    assert loads(PREFIXES[form](one.state_dict()), tmp_path) == state_sha256(one)


MAPS: dict[str, tuple[Callable[[State], State], dict[str, str | None]]] = {
    "backbone and head": (around, {"backbone": "", "classifier": "fc"}),
    "a longer beginning counts": (
        lambda state: prefixed("m.", rest(state)) | head(state, "m.out.fc"),
        {"m": "", "m.out": ""},
    ),
    "left out": (lambda state: state | {"fc2.weight": torch.ones(2), "fc2.bias": torch.ones(2)}, {"fc2": None}),
    "anywhere": (
        lambda state: {name.replace(".0.weight", ".0.kernel"): value for name, value in state.items()},
        {"*.kernel": "*.weight"},
    ),
}


@pytest.mark.parametrize("form", MAPS)
def test_a_mapping_renames_whole_parts(form: str, tmp_path: Path) -> None:
    one = network(seed=1)
    make, names = MAPS[form]
    layout = make(one.state_dict())
    with pytest.raises(UserError):
        loads(layout, tmp_path)
    assert loads(layout, tmp_path, weights_map=names) == state_sha256(one)
    assert loads({"state_dict": layout}, tmp_path, weights_map=names) == state_sha256(one)


def test_names_that_are_not_there_and_that_collide_are_refused(tmp_path: Path) -> None:
    layout = around(network(seed=1).state_dict())
    with pytest.raises(
        UserError, match=r"^teacher.weights_map.bone: no name .*; names begin with backbone, classifier"
    ):
        loads(layout, tmp_path, weights_map={"bone": ""})
    with pytest.raises(UserError, match=r"^teacher.weights_map: fc.weight and another one would both be fc.weight"):
        loads({**layout, "fc.weight": torch.ones(1)}, tmp_path, weights_map={"classifier": "fc"})
    unlike = rest(network(seed=1).state_dict()) | {"dense.weight": torch.ones(10, 16)}
    with pytest.raises(UserError, match=r"unexpected \(dense.weight\); .*teacher.weights_map=\{old: new\}"):
        loads(unlike, tmp_path)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("teacher.weights_map=backbone", "teacher.weights_map=backbone: must be a mapping"),
        ("teacher.weights_map={}", "teacher.weights_map={}: must be a mapping"),
        ("teacher.weights_map={fc: 3}", "teacher.weights_map.fc=3: maps the beginning of a name"),
        ("student.weights_map={a: b}", "student.weights=null is none; give a file"),
        ("teacher.weights_map={bone: ''}", "teacher.weights_map.bone: no name in the file has it"),
    ],
)
def test_bad_mappings_are_refused_in_a_line(command: Command, tmp_path: Path, option: str, told: str) -> None:
    torch.save(around(network(seed=1).state_dict()), tmp_path / "w.pth")
    outcome = command("kd-train", "teacher.model=digits_cnn_4", "teacher.weights=w.pth", option)
    assert outcome.code == 2
    [line] = outcome.error_lines
    assert told in line
    assert not (outcome.folder / "outputs").exists()


def test_a_run_takes_networks_by_a_mapping(command: Command, tmp_path: Path) -> None:
    one: nn.Module = network(seed=1)
    state: dict[str, Tensor] = one.state_dict()
    torch.save(prefixed("net.body.", rest(state)) | head(state, "net.top"), tmp_path / "w.pth")
    names = "weights_map={net.body: '', net.top: fc}"
    teacher = ("teacher.model=digits_cnn_4", "teacher.weights=w.pth", f"teacher.{names}")
    student = ("student.weights=w.pth", f"student.{names}", "optimizer={lr: 0, weight_decay: 0}")
    short = ("trainer.max_epochs=1", "callbacks.progress_bar=null", "hydra.run.dir=run")
    outcome = command("kd-train", *teacher, *student, *short)
    assert outcome.code == 0, outcome.errors
    again = command("kd-eval", "run=run")
    assert again.code == 0, again.errors
    kept = network(seed=3)
    load_weights(kept, tmp_path / "run" / "student.safetensors")
    assert torch.equal(kept.get_parameter("fc.weight"), state["fc.weight"])
