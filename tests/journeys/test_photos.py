"""An engineer's day: photos as they lie about, a teacher from a file, a student, predictions, a file that runs."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor

from kd_lightning import load_student
from tests.conftest import Command
from tests.documents.page import Page
from tests.documents.test_tutorials import follow
from tests.journeys.photos import COUNTS, UNREADABLE, photo_folder

pytest.importorskip("onnxruntime")

PAGE = Page("docs/tutorials/photos.md")
SHORT = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "callbacks.progress_bar=null", "data.num_workers=0")


@pytest.fixture
def elsewhere(readers_folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Photos, and what `imagenet.pt` holds: a network of a thousand classes within somebody's Lightning module."""
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(readers_folder / "cache"))
    photo_folder(readers_folder / "photos")
    weights: dict[str, Tensor] = timm.create_model("test_resnet", num_classes=1000).state_dict()
    whole = {f"net.backbone.{name}": value for name, value in weights.items()}
    torch.save({"epoch": 90, "state_dict": whole}, readers_folder / "imagenet.pt")
    return weights


@pytest.mark.parametrize("page", [PAGE], ids=["photos"])
def test_photos_become_a_file_that_runs(
    page: Page, command: Command, readers_folder: Path, elsewhere: dict[str, Tensor]
) -> None:
    first, second, predict, export = page.commands
    refused = command("kd-train", *(one for one in first.split()[1:] if "unreadable" not in one))
    assert refused.code == 2
    (told,) = refused.error_lines
    assert told.startswith("error: data.unreadable=fail: 2 images of 58 in photos cannot be read: ")
    assert all(name in told for name in UNREADABLE)

    outcomes = follow(page, page.commands, command, readers_folder, SHORT)
    assert "fine-tuned (whole), training" in outcomes[first].output
    assert "all of imagenet.pt but the classifier (fc), which is new" in refused.output  # once in a process
    assert "fine-tuned (whole), found" in outcomes[second].output
    assert "student alone  resnet8, found" in outcomes[second].output
    assert "Distillation: " in outcomes[first].output
    assert outcomes[predict].error_lines == []
    assert "onnx           outputs/photos/export/student.onnx" in outcomes[export].output

    run = Path("outputs", "photos")
    check_comparison(json.loads((run / "summary.json").read_text()))
    check_teacher(elsewhere)
    check_average(run)
    check_predictions(run, page.blocks("py")[0])


def check_comparison(summary: dict[str, Any]) -> None:
    """Of the readable photos, each once; a larger teacher, and the same student twice."""
    assert summary["data"]["classes"] == sorted(COUNTS)
    assert sum(summary["data"]["images"].values()) == sum(COUNTS.values())
    assert summary["data"]["mixing"]["mixup"] == 0.8
    assert summary["teacher"]["model"] == "timm/test_resnet"
    assert summary["scratch"]["params"] == summary["student"]["params"] < summary["teacher"]["params"]
    for name in ("teacher", "scratch", "student"):
        assert 0 <= summary[name]["balanced_accuracy"] <= 1


def check_teacher(elsewhere: dict[str, Tensor]) -> None:
    """It has a head of these classes, has changed, and began as the file: a new one would lie further off."""
    files = [load_file(file) for file in Path("cache", "networks").glob("*/weights.safetensors")]
    (tuned,) = (one for one in files if one.keys() == elsewhere.keys())
    assert tuned["fc.weight"].shape == (len(COUNTS), elsewhere["fc.weight"].shape[1])
    convolutions = [name for name, value in elsewhere.items() if value.ndim == 4]
    for name in convolutions:
        change = (tuned[name] - elsewhere[name]).norm() / elsewhere[name].norm()
        assert 0 < change < 0.5


def check_average(run: Path) -> None:
    """The student that is kept is the average, which the checkpoint holds beside the trained weights."""
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    (trained,) = checkpoint["trained_weights"].values()
    kept = load_file(run / "student.safetensors")
    assert kept.keys() == trained.keys()
    for name, value in kept.items():
        torch.testing.assert_close(value, checkpoint["state_dict"][f"student.{name}"], rtol=0, atol=0)
    assert any(not torch.equal(value, trained[name]) for name, value in kept.items())


def check_predictions(run: Path, script: str) -> None:
    """The table, the network in Python and the file in onnxruntime say the same of the readable photos."""
    with Path("classes.csv").open(newline="") as table:
        rows = {row["file"]: row for row in csv.DictReader(table)}
    images = {str(file) for file in Path("photos").iterdir() if file.suffix in (".jpg", ".png")}
    assert rows.keys() == images - {f"photos/{name}" for name in UNREADABLE}

    network, transform, classes = load_student(run)
    assert transform is not None
    assert classes == sorted(COUNTS)
    for name, row in rows.items():
        with torch.no_grad():
            probabilities = network(transform(name)[None]).softmax(1)[0]
        told = {row[f"class{end}"]: float(row[f"probability{end}"]) for end in ("", "_2", "_3")}
        expected = torch.tensor([told[one] for one in classes])
        torch.testing.assert_close(probabilities, expected, rtol=1e-4, atol=1e-5)

    shown: dict[str, Any] = {"__name__": "page"}
    exec(compile(script, PAGE.name, "exec"), shown)
    assert shown["classes"] == classes
    np.testing.assert_allclose(shown["same"], shown["logits"], rtol=1e-4, atol=1e-4)
