"""Losses against the values and gradients of the public implementations."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from kd_lightning.losses import functional
from tests.conftest import SHARED

INDEX = SHARED / "golden" / "index.json"
ENTRIES = json.loads(INDEX.read_text()) if INDEX.exists() else []
SEQUENCES = {"attention_transfer", "nst", "fsp", "hcl", "activation_boundary"}
TAKES_TARGET = {"dkd"}


def side(tensors: dict[str, Tensor], role: str, loss: str) -> Tensor | list[Tensor]:
    layers = [tensor for name, tensor in tensors.items() if name.startswith(role)]
    return layers if loss in SEQUENCES else layers[0]


@pytest.mark.skipif(not ENTRIES, reason="reference values are not here")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["file"] for entry in ENTRIES])
def test_equals_published_code(entry: dict, dtype: torch.dtype, tolerance: float) -> None:
    golden = {key: torch.from_numpy(value) for key, value in np.load(INDEX.parent / entry["file"]).items()}
    inputs = {key: golden[key].to(dtype) for key in golden if key.startswith(("student", "teacher", "margin"))}
    student = {key: value.requires_grad_() for key, value in inputs.items() if key.startswith("student")}
    name = entry["loss"]
    arguments = [side(inputs, "student", name), side(inputs, "teacher", name)]
    arguments += [golden["target"]] if name in TAKES_TARGET else []
    arguments += [inputs["margin"]] if "margin" in inputs else []
    value = getattr(functional, name)(*arguments, **entry["params"])
    value.backward()
    assert value.item() == pytest.approx(golden["loss"].item(), rel=tolerance)
    for key, tensor in student.items():
        expected, gradient = golden[f"grad_{key}"], tensor.grad
        assert gradient is not None
        assert torch.allclose(gradient.double(), expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())
