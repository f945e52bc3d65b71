"""A library user's day in one script: batches of Hugging Face, a metric of one's own, LightningCLI, predict, ONNX."""

import math
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.documents.page import Page

for package in ("jsonargparse", "docstring_parser", "datasets", "onnxruntime"):
    pytest.importorskip(package)

PAGE = Page("docs/tutorials/library.md")


@pytest.mark.parametrize("page", [PAGE], ids=["library"])
def test_a_script_trains_tests_predicts_and_exports(
    page: Page, readers_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (script,) = page.files
    monkeypatch.setattr("sys.argv", [script])
    made = runpy.run_path(script, run_name="__main__")
    printed = capsys.readouterr().out
    for line in page.blocks("text")[0].splitlines():  # with numbers as they come out here
        assert re.search(re.sub(r"\d+(\\\.\d+)?", r"[\\d.]+", re.escape(line)), printed), line

    answers, (images, labels) = made["answers"], whole(made["cli"].datamodule)
    session = made["session"]
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    np.testing.assert_allclose(logits, answers.numpy(), rtol=1e-4, atol=1e-4)
    top1 = (answers.argmax(1) == labels).double().mean().item()
    assert made["results"]["test/top1"] == pytest.approx(top1, abs=1e-6)
    assert top1 > 0.5  # chance is 0.1
    assert made["results"]["test/kappa"] == pytest.approx(kappa(answers.argmax(1), labels), abs=1e-5)
    saved = (readers_folder / "config.yaml").read_text()
    assert "temperature: 2.0" in saved
    assert "kd_lightning.callbacks.EMA" in saved


def whole(data: object) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(data.test_dataloader())  # type: ignore[attr-defined]
    return torch.cat([one["pixel_values"] for one in batches]), torch.cat([one["labels"] for one in batches])


def kappa(predicted: torch.Tensor, labels: torch.Tensor) -> float:
    """Cohen's, by its definition: agreement beyond what the frequencies of the classes give by chance."""
    table = np.zeros((10, 10))
    np.add.at(table, (labels.numpy(), predicted.numpy()), 1)
    table /= table.sum()
    chance = math.fsum(table.sum(0) * table.sum(1))
    return float((np.trace(table) - chance) / (1 - chance))
