"""A linear classifier on frozen features: against scikit-learn's, and by a command on other data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from kd_lightning.training.probing.features import as_images_of
from kd_lightning.training.probing.linear import Samples, fitted
from tests.conftest import Command, session_folder
from tests.experiment.test_finetuning import photos


def clouds(count: int, seed: int) -> Samples:
    """Three overlapping clouds of points of very different scales."""
    draw = torch.Generator().manual_seed(seed)
    target = torch.arange(count) % 3
    centres = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    points = centres[target] + torch.randn(count, 3, generator=draw)
    return Samples((points * torch.tensor([1.0, 100.0, 0.01])).double(), target)


@pytest.mark.parametrize("penalty", [1.0, 1e-2, 1e-4])
def test_it_is_the_penalised_logistic_regression(penalty: float) -> None:
    train, val = clouds(90, seed=1), clouds(60, seed=2)
    found = fitted(train, val, width=3, penalties=[penalty])
    inputs = ((train.features - train.features.mean(0)) / train.features.std(0, correction=0)).numpy()
    oracle = LogisticRegression(C=1 / (penalty * len(inputs)), tol=1e-10, max_iter=10_000).fit(inputs, train.target)
    np.testing.assert_allclose(found.weight.numpy().T, oracle.coef_, atol=1e-4)
    unseen = ((val.features - train.features.mean(0)) / train.features.std(0, correction=0)).numpy()
    ours = found(val.features).softmax(dim=1).numpy()
    np.testing.assert_allclose(ours, oracle.predict_proba(unseen), atol=1e-4)


def test_validation_data_choose_the_penalty_and_of_equal_ones_the_strongest() -> None:
    train, val = clouds(12, seed=1), clouds(300, seed=2)
    right = {}
    for penalty in (10.0, 1e-1, 1e-6):
        one = fitted(train, val, 3, [penalty])
        right[penalty] = int((one(val.features).argmax(1) == val.target).sum())
    assert fitted(train, val, 3, [10.0, 1e-1, 1e-6]).penalty == max(right, key=lambda one: (right[one], one))
    apart = Samples(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]))
    assert fitted(apart, apart, 2, [1.0, 0.1]).penalty == 1.0


def test_images_are_shown_as_a_network_knows_them() -> None:
    colours = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    grey = as_images_of(colours, (1, 8, 8))
    assert grey.shape == (2, 1, 8, 8)
    torch.testing.assert_close(grey.mean(), colours.mean(), rtol=1e-3, atol=1e-3)
    assert as_images_of(grey, (3, 8, 8))[:, 2].equal(grey[:, 0])
    assert as_images_of(colours, (3, 16, 16)).equal(colours)


def probes(run: Path) -> Any:
    return json.loads((run / "probes.json").read_text())


def test_the_networks_of_a_run_are_compared_on_other_data(
    command: Command,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(session_folder(tmp_path_factory) / "of_finished"))
    before = {path.name: path.read_bytes() for path in run_folder.iterdir() if path.is_file()}
    outcome = command("kd-eval", f"run={run_folder}", "probe=digits", "probe.val_fraction=0.2")
    assert outcome.code == 0, outcome.errors
    assert all(title in outcome.output for title in ("teacher", "student alone", "distilled student", "top-1 %"))
    found = probes(run_folder)["digits"]
    assert found["data"]["images"]["val"] < 200, "an argument of the data"
    assert list(found["networks"]) == ["teacher", "scratch", "student"]
    assert {one["features"] for one in found["networks"].values()} == {32, 16}
    assert found["networks"]["student"]["top1"] > 0.3, "features of the same images"
    again = command("kd-eval", f"run={run_folder}", "probe=digits", "probe.val_fraction=0.2")
    assert again.code == 0
    assert probes(run_folder)["digits"] == found, "nothing is drawn"
    photos(tmp_path / "photos")
    other = ("probe=small_folder", "probe.root=photos", "probe.image_size=32", "probe.name=photos")
    coloured = command("kd-eval", f"run={run_folder}", *other)
    assert coloured.code == 0, coloured.errors
    assert {*probes(run_folder)} == {"digits", "photos"}
    assert probes(run_folder)["photos"]["data"]["images"]["test"] == 8
    assert {name: (run_folder / name).read_bytes() for name in before} == before, "all else stays as it is"
    assert command("kd-eval", f"run={run_folder}").code == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["probe=cifar"], "probe=cifar: no such config; did you mean cifar10"),
        (["probe=digits", "probe.bogus=1"], "probe.bogus=1: kd_lightning.data.DigitsDataModule has no such argument"),
        (["probe=small_folder"], "probe.root=null: give the folder"),
        (["probe=small_folder", "probe.root=nowhere"], "probe.root="),
    ],
)
def test_what_cannot_be_probed_on_is_told_in_a_line(
    command: Command, finished: Path, options: list[str], told: str
) -> None:
    outcome = command("kd-eval", f"run={finished}", *options)
    assert outcome.code == 2
    [line] = outcome.error_lines
    assert told in line
    assert not (finished / "probes.json").exists()
