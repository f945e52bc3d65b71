"""kd-inspect teachers=…: candidate teachers by what is kept of their answers, against plain numpy."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from kd_lightning.inference.answers.candidates import encoding_of, told
from kd_lightning.store import TopK, Whole
from kd_lightning.store.folders import Entry, entries
from tests.conftest import Command, Outcome

SHORT = (
    *("trainer.max_epochs=2", "trainer.limit_train_batches=3", "trainer.accelerator=cpu", "scratch=false"),
    *("callbacks.progress_bar=null", "teacher.cache=logits", "teacher.cache_bits=32"),
)
TEACHERS = ("digits_cnn_4", "digits_cnn_8", "digits_cnn_16")


def told_by_numpy(logits: np.ndarray, target: np.ndarray) -> dict[str, float]:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = shifted / shifted.sum(axis=1, keepdims=True)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == target
    place = np.minimum((confidence * 15).astype(int), 14)
    error = sum(abs(confidence[place == k].mean() - right[place == k].mean()) * (place == k).mean() for k in {*place})
    second, first = np.sort(logits, axis=1)[:, -2:].T
    ratio = (first / second)[second > 0].mean()
    entropy = -(p * np.log(p + 1e-300)).sum(axis=1).mean()
    return {"accuracy": right.mean(), "ece": error, "entropy": entropy, "ratio": ratio}


def test_what_answers_tell_equals_numpy() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(300, 6, generator=generator)
    target = torch.randint(6, (300,), generator=generator)
    assert told(logits, target) == pytest.approx(told_by_numpy(logits.double().numpy(), target.numpy()), rel=1e-4)
    unlabelled = told(logits, torch.full((300,), -1))
    assert unlabelled["accuracy"] is unlabelled["ece"] is None
    assert unlabelled["ratio"] == told(logits, target)["ratio"]
    assert told(-logits.abs(), target)["ratio"] is None, "a ratio of numbers below 0 says nothing"


def test_answers_are_read_as_they_were_kept() -> None:
    for encoding in (Whole(10, 16), Whole(100, 32), TopK(100, 5, 16)):
        assert encoding_of(repr(encoding)) == encoding


def read(entry: Entry, words: int) -> dict[int, np.ndarray]:
    """The answers of 32 bits in a file by their row, but for the checksums behind each."""
    records = np.fromfile(entry.path / "answers.bin", dtype=np.int16).reshape(-1, words + 2)
    there = records[:, words:].any(axis=1).nonzero()[0]
    return {int(row): records[row, :words].view(np.float32).astype(np.float64) for row in there}


def shown(outcome: Outcome) -> dict[str, list[float]]:
    lines = [line.split() for line in outcome.output.splitlines() if line.strip().startswith("digits_cnn")]
    return {name: [float(value) for value in values] for name, *values in lines}


@pytest.mark.usefixtures("_cache")
def test_candidates_are_ranked_on_the_answers_that_all_gave(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kd_lightning.data import DigitsDataModule

    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    swept = command("kd-train", "-m", *SHORT, f"teacher.model={','.join(TEACHERS)}", "hydra.sweep.dir=sweep")
    assert swept.code == 0, swept.errors
    longer = command(
        "kd-train", *SHORT, "teacher.model=digits_cnn_8", "student.trainer={max_epochs: 4}", "hydra.run.dir=run"
    )
    assert longer.code == 0, longer.errors
    found = command("kd-inspect", f"teachers=[{','.join(TEACHERS)}]")
    assert found.code == 0, found.errors
    kept = {
        json.loads((one.path / "cache.json").read_text())["teacher"]["model"]: read(one, 20)
        for one in entries(tmp_path / "cache")
        if one.kind == "answers" and (one.path / "answers.bin").stat().st_size
    }
    common = sorted(set.intersection(*({*rows} for rows in kept.values())))
    assert len(common) < len(kept["digits_cnn_8"])
    data = DigitsDataModule()
    data.setup()
    target = data.train_set.images.targets.numpy()[np.array(common) // data.num_views]
    table = shown(found)
    assert f"{len(common)} answers" in found.output
    for name, rows in kept.items():
        expected = told_by_numpy(np.stack([rows[row] for row in common]), target)
        of = [100 * expected["accuracy"], 100 * expected["ece"], expected["entropy"], expected["ratio"]]
        assert table[name] == pytest.approx(of, abs=6e-3), name
    ratios = [values[-1] for values in table.values()]
    assert ratios == sorted(ratios)
    assert "arXiv:2605.15689" in found.output, "the plain note of what it predicts"

    page = command("kd-report", "sweep")
    assert page.code == 0, page.errors
    section = (tmp_path / "sweep" / "report.html").read_text().partition("Teachers</h2>")[2][:6000]
    assert all(f"teacher.model={name}" in section for name in TEACHERS)
    assert "R12" in section
    assert "takes 5 teachers" in section

    first = next(one for one in entries(tmp_path / "cache") if one.kind == "answers")
    begun = first.path.with_name("0" * len(first.path.name))
    shutil.copytree(first.path, begun)
    (begun / "answers.bin").write_bytes(b"")
    with_none = command("kd-inspect", "teachers=all")
    assert "each on its own" not in with_none.output, "one without an answer yet takes none from the others"
    assert " 0 answers" in with_none.output

    unknown = command("kd-inspect", "teachers=[digits_cnn_9]")
    assert unknown.code == 2
    assert "teachers=digits_cnn_9: no answers of it are kept" in unknown.error_lines[0]


def test_where_nothing_is_kept_the_way_to_keep_it_is_told(command: Command, tmp_path: Path) -> None:
    for chosen in ("all", "[resnet8]"):
        outcome = command("kd-inspect", f"teachers={chosen}", f"cache_dir={tmp_path / 'none'}")
        assert outcome.code == 2
        (line,) = outcome.error_lines
        assert line.startswith("error: teachers="), line
        assert line.endswith("train with teacher.cache=logits first"), line
