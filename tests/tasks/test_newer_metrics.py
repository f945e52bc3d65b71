"""A network that was kept before a metric was added is measured anew, not shown without it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from tests.conftest import Command

QUICK = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.accelerator=cpu", "logger=csv")
SMALL = ("teacher.model=digits_cnn_4", "student.model=digits_cnn_4")


def forget(cache: Path, metric: str) -> list[Path]:
    """Make the records in the cache those of a version that did not measure this."""
    records = list(cache.glob("*/*/record.json"))
    for path in records:
        record = json.loads(path.read_text())
        del record["test"][metric]
        path.write_text(json.dumps(record))
    return records


@pytest.mark.parametrize(
    ("options", "metric", "kinds"),
    [((), "ece", {"networks"}), (("teacher.weights=null", "scratch=false"), "top1_validation", {"measurements"})],
    ids=["trained", "measured"],
)
def test_the_missing_column_is_filled(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    metric: str,
    kinds: set[str],
) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    summaries = []
    for run in ("first", "second", "third"):
        outcome = command("kd-train", *QUICK, *SMALL, *options, f"hydra.run.dir={run}")
        assert outcome.code == 0, outcome.errors
        assert ("measured anew" in outcome.output) == (run == "second" and kinds == {"networks"})
        assert "training (" not in outcome.output or run == "first"
        summaries.append(json.loads((tmp_path / run / "summary.json").read_text()))
        if run == "first":
            records = forget(tmp_path / "cache", metric)
            assert {path.parent.parent.name for path in records} == kinds
    first, second, third = (summary["teacher"] for summary in summaries)
    assert second[metric] == pytest.approx(first[metric])
    assert third[metric] == second[metric]
    assert all(metric in json.loads(path.read_text())["test"] for path in records)


def test_missing_arrays_are_filled(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What figures are drawn from, kept before it had today's form or lost, is measured anew too."""
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    drawn = []
    for run in ("first", "second"):
        outcome = command("kd-train", *QUICK, *SMALL, "scratch=false", f"hydra.run.dir={run}")
        assert outcome.code == 0, outcome.errors
        assert ("measured anew" in outcome.output) == (run == "second")
        drawn.append(np.load(tmp_path / run / "evaluation.npz")["teacher_confusions"])
        for path in tmp_path.glob("cache/networks/*/evaluation.npz"):
            np.savez(path, confusion=np.eye(10))
    np.testing.assert_array_equal(*drawn)


def test_another_run_that_measures_it_is_waited_for(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    options = (*QUICK, *SMALL, "scratch=false")
    assert command("kd-train", *options, "hydra.run.dir=first").code == 0
    (record,) = (tmp_path / "cache").glob("networks/*/record.json")
    whole = record.read_bytes()
    forget(tmp_path / "cache", "ece")

    def measured_meanwhile(self: FileLock, *arguments: Any, **options: Any) -> Any:
        if self.lock_file == str(record.parent.with_suffix(".lock")):
            record.write_bytes(whole)
        return acquire(self, *arguments, **options)

    acquire = FileLock.acquire
    monkeypatch.setattr(FileLock, "acquire", measured_meanwhile)
    outcome = command("kd-train", *options, "hydra.run.dir=second")
    assert outcome.code == 0, outcome.errors
    assert "measured anew" not in outcome.output
