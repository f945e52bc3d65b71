"""Weights in files: every format in use loads; every bad file is one clear line and leaves the model as it was."""

import argparse
import copy
import json
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.models import create_model, load_weights, save_weights, state_sha256

State = dict[str, Tensor]


def network(seed: int, name: str = "digits_cnn_4", num_classes: int = 10) -> nn.Module:
    torch.manual_seed(seed)
    return create_model(name, num_classes, in_channels=1)


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


@pytest.fixture
def source() -> nn.Module:
    return network(seed=1)


def repdistiller(state: State) -> dict[str, Any]:
    """As train_teacher.py saves it, with the optimizer."""
    parameter = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0.05, momentum=0.9)
    parameter.sum().backward()
    optimizer.step()
    return {"epoch": 240, "model": state, "best_acc": torch.tensor([73.5]), "optimizer": optimizer.state_dict()}


FORMATS: dict[str, Callable[[State], Any]] = {
    "state dict": lambda state: state,
    "repdistiller best": repdistiller,
    "repdistiller last": lambda state: {"opt": argparse.Namespace(model="resnet8x4", trial=0), "model": state},
    "numpy accuracy": lambda state: {"model": state, "accuracy": np.float32(71.2), "best_acc": np.float64(72.1)},
    "mdistiller student": lambda state: {"model": state},
    "mdistiller latest": lambda state: {
        "model": prefixed("module.student.", state) | prefixed("module.teacher.", {"fc.bias": torch.zeros(3)})
    },
    "timm": lambda state: {"arch": "x", "state_dict": prefixed("module.", state), "metric": np.float64(1.0)},
    "lightning student": lambda state: {
        "pytorch-lightning_version": "2.5.5",
        "epoch": 3,
        "state_dict": prefixed("student.", state) | {"projectors.kd.weight": torch.zeros(2)},
    },
    "lightning net": lambda state: {"pytorch-lightning_version": "2.5.5", "state_dict": prefixed("net.", state)},
    "lightning model": lambda state: {
        "pytorch-lightning_version": "2.5.5",
        "state_dict": prefixed("model._orig_mod.", state) | {"criterion.weight": torch.zeros(2)},
    },
    "data parallel, twice": lambda state: prefixed("module.module.", state),
    "compiled, parallel": lambda state: prefixed("module._orig_mod.module.", state),
    "compiled in parts": lambda state: {name.replace(".0.", "._orig_mod.0.", 1): v for name, v in state.items()},
    "student of a net": lambda state: {"state_dict": prefixed("student.module.net.", state)},
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_every_format_in_use_loads(form: str, legacy: bool, source: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(FORMATS[form](source.state_dict()), path, _use_new_zipfile_serialization=not legacy)
    model = network(seed=2)
    load_weights(model, path)
    assert state_sha256(model) == state_sha256(source)


GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "cifar_models.json"


@pytest.mark.skipif(not GOLDEN.exists(), reason="no reference values")
@pytest.mark.parametrize("name", ["resnet8x4", "wrn_40_2", "vgg8", "MobileNetV2", "ShuffleV1", "ShuffleV2", "ResNet50"])
def test_a_checkpoint_of_repdistiller_loads_strictly(name: str, tmp_path: Path) -> None:
    entries = json.loads(GOLDEN.read_text())[name]["state_dict"]
    state = {
        entry: torch.tensor(7) if entry.endswith("num_batches_tracked") else torch.rand(shape)
        for entry, shape in entries.items()
    }
    torch.save(repdistiller(state), tmp_path / "ckpt_epoch_240.pth")
    model = create_model(name, 100)
    load_weights(model, tmp_path / "ckpt_epoch_240.pth")
    loaded = model.state_dict()
    assert all(torch.equal(loaded[entry], value) for entry, value in state.items())
    del state[next(iter(state))]
    torch.save(state, tmp_path / "incomplete.pth")
    with pytest.raises(UserError, match="1 missing"):
        load_weights(model, tmp_path / "incomplete.pth")


@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod.", "student."])
@pytest.mark.parametrize("name", ["weights.safetensors", "weights.bin"])
def test_safetensors_load_whatever_their_name(prefix: str, name: str, source: nn.Module, tmp_path: Path) -> None:
    save_file(prefixed(prefix, source.state_dict()), tmp_path / name)
    model = network(seed=2)
    load_weights(model, tmp_path / name)
    assert state_sha256(model) == state_sha256(source)


def test_a_model_that_is_itself_wrapped_loads_plain_weights(source: nn.Module, tmp_path: Path) -> None:
    save_weights(source, tmp_path / "w.safetensors", {})
    model = network(seed=2)
    load_weights(torch.compile(model, backend="eager"), tmp_path / "w.safetensors")
    assert state_sha256(model) == state_sha256(source)
    wrapper = nn.ModuleDict({"net": network(seed=3), "head": nn.Linear(2, 2)})  # whose own names look like a prefix
    torch.save(wrapper.state_dict(), tmp_path / "wrapper.pth")
    twin = copy.deepcopy(wrapper)
    nn.init.zeros_(twin["head"].weight)
    load_weights(twin, tmp_path / "wrapper.pth")
    assert state_sha256(twin) == state_sha256(wrapper)


def test_saving_writes_plain_names_and_metadata_and_no_leftovers(source: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "new" / "student.safetensors"
    save_weights(torch.compile(source, backend="eager"), path, {"model": "digits_cnn_4", "epoch": 3})
    with safe_open(path, "pt") as file:
        names, metadata = set(file.keys()), file.metadata()
    assert names == set(source.state_dict())
    assert metadata | {"sha256": ""} == {"model": "digits_cnn_4", "epoch": "3", "sha256": ""}
    model = network(seed=2)
    assert load_weights(model, path) == metadata
    assert os.listdir(path.parent) == [path.name]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_model_of_its_own_whose_parts_are_called_module_keeps_every_entry(tmp_path: Path) -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "module": nn.ModuleDict({"a": nn.Linear(2, 2)})})
    save_weights(model, tmp_path / "w.safetensors", {})
    twin = copy.deepcopy(model)
    nn.init.zeros_(twin.get_parameter("module.a.weight"))
    load_weights(twin, tmp_path / "w.safetensors")
    assert state_sha256(twin) == state_sha256(model)


def test_tied_and_strided_weights_are_saved(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Conv2d(2, 4, 3).to(memory_format=torch.channels_last))
    model[1].weight = model[0].weight
    save_weights(model, tmp_path / "w.safetensors", {})
    twin = copy.deepcopy(model)
    nn.init.zeros_(twin[0].weight)
    load_weights(twin, tmp_path / "w.safetensors")
    assert state_sha256(twin) == state_sha256(model)


def test_a_failed_save_leaves_the_old_file(source: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(source, path, {})
    before = path.read_bytes()

    def fail(_descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_weights(network(seed=2), path, {})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_digest_tells_values_types_shapes_and_names_apart() -> None:
    digests = {
        state_sha256(model)
        for model in (
            network(1),
            network(2),
            network(1).double(),
            network(1).bfloat16(),
            nn.ParameterDict({"a": torch.zeros(2, 3)}),
            nn.ParameterDict({"a": torch.zeros(3, 2)}),
            nn.ParameterDict({"b": torch.zeros(2, 3)}),
        )
    }
    assert len(digests) == 7
    assert state_sha256(network(1)) == state_sha256(network(1))


class Payload:
    """A pickle that would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def truncated(path: Path, source: nn.Module, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])


def bad_torch(path: Path, source: nn.Module) -> None:
    torch.save(source.state_dict(), path)
    truncated(path, source, 0.5)


def bad_legacy(path: Path, source: nn.Module) -> None:
    torch.save(source.state_dict(), path, _use_new_zipfile_serialization=False)
    truncated(path, source, 0.5)


def bad_safetensors(path: Path, source: nn.Module) -> None:
    save_file(source.state_dict(), path)
    truncated(path, source, 0.5)


def bad_safetensors_header(path: Path, source: nn.Module) -> None:
    save_file(source.state_dict(), path)
    truncated(path, source, 0.02)


def whole_model(path: Path, source: nn.Module) -> None:
    torch.save(source, path)


def malicious(path: Path, source: nn.Module) -> None:
    torch.save({"model": source.state_dict(), "extra": Payload(path.with_name("executed"))}, path)


def malicious_plain(path: Path, source: nn.Module) -> None:
    path.write_bytes(pickle.dumps(Payload(path.with_name("executed")), protocol=2))


BAD_FILES: dict[str, tuple[Callable[[Path, nn.Module], object], str]] = {
    "missing": (lambda path, _: None, "no such file"),
    "folder": (lambda path, _: path.mkdir(), "is a folder"),
    "empty": (lambda path, _: path.touch(), "is empty"),
    "text": (lambda path, _: path.write_text("<!DOCTYPE html>not found"), "cannot be read"),
    "truncated checkpoint": (bad_torch, "truncated"),
    "truncated legacy checkpoint": (bad_legacy, "truncated"),
    "truncated safetensors": (bad_safetensors, "truncated"),
    "truncated safetensors header": (bad_safetensors_header, "truncated"),
    "whole model": (whole_model, "DigitsCNN"),
    "malicious": (malicious, "mkdir"),
    "other pickle": (lambda path, _: path.write_bytes(pickle.dumps({"a": 1}, protocol=4)), "cannot be read"),
    "malicious plain pickle": (malicious_plain, "mkdir"),
    "no weights": (lambda path, _: torch.save({"epoch": 3, "accuracy": 0.5}, path), "epoch, accuracy"),
    "a list": (lambda path, _: torch.save([torch.zeros(2)], path), "holds no weights"),
    "scripted": (lambda path, _: torch.jit.script(nn.ReLU()).save(str(path)), "cannot be read"),
}


@pytest.mark.filterwarnings("error")  # a warning would be a second line
@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_one_line_and_runs_nothing(kind: str, source: nn.Module, tmp_path: Path) -> None:
    make, words = BAD_FILES[kind]
    path = tmp_path / "weights.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make(path, source)
    model = network(seed=2)
    before = state_sha256(model)
    with pytest.raises(UserError) as error:
        load_weights(model, path, key="student.weights")
    text = str(error.value)
    assert text.startswith(f"student.weights={path}")
    assert words in text
    assert "\n" not in text
    assert state_sha256(model) == before
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (network(3, num_classes=7), ["2 of another shape", "fc.weight (7, 16) for (10, 16)", "number of classes"]),
        (network(3, "resnet8"), ["missing (layer1.0.weight", "unexpected (bn1.bias", "…"]),
        (network(3, "digits_cnn_8"), ["of another shape", "layer1.0.weight (8, 1, 3, 3) for (4, 1, 3, 3)"]),
    ],
    ids=["classes", "architecture", "width"],
)
def test_weights_of_another_model_are_refused_whole(other: nn.Module, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(other, path, {})
    model = network(seed=2)
    before = state_sha256(model)
    with pytest.raises(UserError) as error:
        load_weights(model, path)
    text = str(error.value)
    assert text.startswith(f"path={path}")
    assert "DigitsCNN" in text
    assert "\n" not in text
    assert len(text) < 800
    assert all(word in text for word in words)
    assert state_sha256(model) == before


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_one_flipped_bit_is_seen(tmp_path: Path, name: str) -> None:
    network, path = create_model("resnet8", 10), tmp_path / name
    save_weights(network, path, {"model": "resnet8"}) if name.endswith("s") else torch.save(network.state_dict(), path)
    load_weights(create_model("resnet8", 10), path)
    content = bytearray(path.read_bytes())
    content[content.index(network.conv1.weight.detach().numpy().tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        load_weights(create_model("resnet8", 10), path)


def test_equal_weights_are_equal_files(tmp_path: Path) -> None:
    network = create_model("resnet8", 10)
    metadata = {f"name{number}": number for number in range(9)}
    for name in ("first", "second"):
        save_weights(network, tmp_path / name, metadata)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
