"""The loss that CONTRIBUTING has its reader add: its function, its class, its term and its oracle go together."""

import doctest
import math
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from kd_lightning import losses
from kd_lightning.losses import functional
from kd_lightning.losses.functional.logits import targets as functions
from kd_lightning.losses.logits import targets as classes
from tests.conftest import Command
from tests.documents.page import Page
from tests.documents.test_tutorials import SHORT
from tests.losses.case import Case

PAGE = Page("CONTRIBUTING.md")
NAME = "jensen_shannon"


def written(block: str, module: ModuleType, **beside: Any) -> dict[str, Any]:
    """What a block defines where it stands in a module, beside what this has."""
    names = {**vars(module), **beside}
    exec(compile(block, PAGE.name, "exec"), names)
    return names


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Case:
    """The first three blocks of code, in the modules that the page names; the last one is the case."""
    function, thin, oracle = PAGE.blocks("python")
    made = written(function, functions, math=math, torch=torch)[NAME]
    monkeypatch.setattr(functional, NAME, made, raising=False)
    monkeypatch.setattr(losses, "JensenShannon", written(thin, classes)["JensenShannon"], raising=False)
    oracles = import_module("tests.losses.oracles.logits")
    return written(oracle, oracles, CASES=dict(oracles.CASES))["CASES"][NAME]


def test_it_equals_its_formula(added: Case) -> None:
    tensors = [torch.from_numpy(array).requires_grad_() for array in added.arrays]
    assert added.loss(*tensors).item() == pytest.approx(added.oracle(*added.arrays), rel=1e-9)
    assert torch.autograd.gradcheck(added.loss, tensors)
    for written_out in (functional.jensen_shannon, losses.JensenShannon):
        (example,) = (
            one for one in doctest.DocTestFinder(recurse=False).find(written_out, NAME, globs={}, module=False)
        )
        assert doctest.DocTestRunner().run(example).failed == 0
    masked = torch.tensor([[0.0, -math.inf], [1.0, 2.0]])
    assert torch.isfinite(added.loss(masked, masked)).all()


@pytest.mark.usefixtures("added")
def test_it_trains(command: Command, tmp_path: Path) -> None:
    (term,) = PAGE.blocks("yaml")
    (tmp_path / "conf" / "loss").mkdir(parents=True)
    (tmp_path / "conf" / "loss" / f"{NAME}.yaml").write_text(term)
    outcome = command("kd-train", "--config-dir=conf", f"loss=[ce,{NAME}]", "teacher.model=digits_cnn_4", *SHORT)
    assert outcome.code == 0, outcome.errors
    assert f"student        digits_cnn_4, ce + {NAME}" in outcome.output
