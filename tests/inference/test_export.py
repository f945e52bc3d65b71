"""kd-export: a run's student as files that other programs run, checked before they are there."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from huggingface_hub import ModelCard

import kd_lightning.exporting.formats as formats
from kd_lightning import load_student
from kd_lightning.models import save_weights
from kd_lightning.networks.description import KEY
from tests.additions.addition import Addition
from tests.conftest import Command
from tests.inference.test_student import SHORT, digits


def test_a_run_is_exported_in_both_formats_with_a_card(command: Command, run_folder: Path) -> None:
    done = command("kd-export", "run=run", "format=onnx,torch_export")
    assert done.code == 0, done.errors
    assert "largest difference" in done.output
    folder = run_folder / "export"
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "student.onnx", "student.pt2"]
    images, _ = digits()
    with torch.no_grad():
        expected = load_student("run").network(images)
    session = onnxruntime.InferenceSession(folder / "student.onnx", providers=["CPUExecutionProvider"])
    [given] = session.run(["logits"], {"input": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(given), expected)
    [alone] = session.run(None, {"input": images[:1].numpy()})
    assert alone.shape == (1, 10)
    program = torch.export.load(folder / "student.pt2").module()
    with torch.no_grad():
        torch.testing.assert_close(program(images), expected)
        assert program(images[:1]).shape == (1, 10)
    held = session.get_modelmeta().custom_metadata_map
    assert json.loads(held["classes"]) == [str(digit) for digit in range(10)]
    assert held["gives"] == "logits"
    model = onnx.load(folder / "student.onnx")
    onnx.checker.check_model(model)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    card_is_whole((folder / "README.md").read_text(), run_folder)


def card_is_whole(text: str, run: Path) -> None:
    """The front matter is what the hub reads, and the numbers are the run's."""
    card = ModelCard(text)
    assert card.data.model_name == "digits_cnn_4"
    assert {one.metric_type for one in card.data.eval_results or ()} >= {"accuracy", "nll"}
    _, front, body = text.split("---\n", 2)
    about, summary = yaml.safe_load(front), json.loads((run / "summary.json").read_text())
    assert about["pipeline_tag"] == "image-classification"
    [result] = about["model-index"][0]["results"]
    metrics = {one["type"]: one["value"] for one in result["metrics"]}
    assert metrics["accuracy"] == pytest.approx(100 * summary["student"]["top1"])
    assert result["dataset"]["name"] == "digits"
    for word in ("digits_cnn_8", "256 of 256", "SHA-256", "onnxruntime", "898 test samples"):
        assert word in body, word
    for name in ("student.onnx", "student.pt2", "student.safetensors"):
        file = run / name if name.endswith("safetensors") else run / "export" / name
        assert hashlib.sha256(file.read_bytes()).hexdigest() in body


def test_probabilities_without_class_names_elsewhere(command: Command, run_folder: Path) -> None:
    shutil.move(run_folder / "student.safetensors", "alone.safetensors")
    asked = ("softmax=true", "class_names=false", "output=out", "format=torch_export")
    done = command("kd-export", "run=alone.safetensors", *asked)
    assert done.code == 0, done.errors
    assert "compared on noise; images=FOLDER" in done.errors
    loaded = formats.load_program(Path("out/alone.pt2"))
    given = loaded.run((torch.rand(3, 1, 8, 8),))
    torch.testing.assert_close(given.sum(1), torch.ones(3))
    assert "classes" not in loaded.metadata
    assert json.loads(loaded.metadata[KEY])["classes"] is None
    assert "Classes" not in Path("out/README.md").read_text()


def test_what_cannot_be_exported_is_told_and_leaves_nothing(command: Command) -> None:
    own = "student.model={_target_: tests.exporting.odd_networks.odd_network, oddity: forgetful}"
    assert command("kd-train", *SHORT, "loss=ce", "teacher=none", own).code == 0
    before = sorted(Path("run").rglob("*"))
    refused = command("kd-export", "run=run", "format=onnx,torch_export")
    assert refused.code == 2
    [line] = refused.error_lines
    assert "format=onnx: its outputs differ from the network's by " in line
    assert sorted(Path("run").rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["format=onx"], "format=onx: no format onx; did you mean onnx? there are onnx, torch_export"),
        (["softmax=1"], "softmax=1: must be true or false"),
        (["compared=0"], "compared=0: must be a whole number"),
        (["images=nothing"], "images=nothing: no such file or folder"),
        (["output=run/summary.json"], "output=run/summary.json: is a file; give a folder"),
        (["runn=3"], "nothing reads this key"),
    ],
)
def test_bad_input_is_one_line(command: Command, run_folder: Path, arguments: list[str], told: str) -> None:
    refused = command("kd-export", "run=run", *arguments)
    assert refused.code == 2
    assert len(refused.error_lines) == 1
    assert told in refused.error_lines[0]
    assert not (run_folder / "export").exists()


def test_a_missing_engine_is_told_with_the_extra(
    command: Command, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    refused = command("kd-export", "run=run")
    assert refused.code == 2
    assert refused.error_lines == [
        'error: format=onnx: needs onnx, onnxscript, onnxruntime; pip install "kd-lightning[export]"'
    ]
    assert command("kd-export", "run=run", "format=torch_export").code == 0


@pytest.mark.slow
def test_a_regression_is_exported_without_a_softmax(command: Command) -> None:
    addition = Addition("regression")
    addition.copy_to(Path())
    assert command("kd-train", *addition.arguments, *SHORT[:3], "scratch=false", "hydra.run.dir=run").code == 0
    refused = command("kd-export", "run=run", "softmax=true", "format=torch_export")
    assert "softmax=true: is for one class of several" in refused.error_lines[0]
    done = command("kd-export", "run=run", "format=torch_export")
    assert done.code == 0, done.errors
    assert "same class" not in done.output


@pytest.mark.slow
def test_texts_are_exported_by_the_names_of_their_tensors(command: Command) -> None:
    pytest.importorskip("transformers")
    addition = Addition("text")
    addition.copy_to(Path())
    assert command("kd-train", *addition.arguments, *SHORT[:3], "scratch=false", "hydra.run.dir=run").code == 0
    done = command("kd-export", "run=run", "softmax=true")
    assert done.code == 0, done.errors
    session = onnxruntime.InferenceSession("run/export/student.onnx", providers=["CPUExecutionProvider"])
    taken = {one.name: np.ones((3, 9), np.int64) for one in session.get_inputs()}
    assert {"input_ids", "attention_mask"} <= taken.keys()
    [given] = session.run(None, taken)
    np.testing.assert_allclose(given.sum(1), 1, rtol=1e-5)


def test_a_file_of_weights_without_a_description_is_refused(command: Command, tmp_path: Path) -> None:
    save_weights(torch.nn.Linear(2, 2), tmp_path / "plain.safetensors")
    refused = command("kd-export", "run=plain.safetensors")
    assert "does not tell which network its weights are of" in refused.error_lines[0]


def test_photographs_are_compared_on(command: Command, run_folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    Path("photos").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(f"photos/{number}.png")
    done = command("kd-export", "run=run", "format=torch_export", "images=photos")
    assert done.code == 0, done.errors
    assert "on 3 images of the user's own" in (run_folder / "export" / "README.md").read_text()
    Path("photos/9.jpg").write_text("none")
    refused: Any = command("kd-export", "run=run", "format=torch_export", "images=photos/*")
    assert refused.code == 2
    assert "error: images=photos/*: photos/9.jpg cannot be read as an image" in refused.error_lines[0]
