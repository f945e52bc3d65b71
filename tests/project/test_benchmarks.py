"""The speed benchmark runs, and its table and JSON hold what they promise."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.speed import __main__ as command
from benchmarks.speed import limit, overhead, startup, students, sweep, training
from benchmarks.speed.cifar import PillowImages, write_noise
from benchmarks.speed.settings import Pair
from benchmarks.speed.timing import Effort, Row, alternate, median_ratio
from kd_lightning import terminal
from kd_lightning.data import CIFAR100DataModule

SMALL = Pair("resnet8", "resnet8")
SHORT = Effort(steps=1, warm_up=1, repeats=1)
FIELDS = {"part", "what", "theirs", "ours", "unit", "ratio", "samples"}


@pytest.fixture
def noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Noise in CIFAR-100's layout, but fewer images; for this process alone."""
    monkeypatch.setattr(CIFAR100DataModule, "images_per_file", {"train": 2000, "test": 200})
    write_noise(tmp_path / "fewer")
    return tmp_path / "fewer"


@pytest.fixture
def whole_noise(tmp_path: Path) -> Path:
    """As many images as CIFAR-100 has, for commands in processes of their own."""
    write_noise(tmp_path / "noise")
    return tmp_path / "noise"


def test_contestants_take_turns_and_every_other_round_goes_backwards() -> None:
    turns: list[tuple[str, int, int]] = []

    def contestant(name: str):  # type: ignore[no-untyped-def]
        def run(warm_up: int, steps: int) -> float:
            turns.append((name, warm_up, steps))
            return 6.0

        return run

    seconds = alternate({"a": contestant("a"), "b": contestant("b")}, Effort(steps=3, warm_up=2, repeats=2))
    assert seconds == {"a": [2.0, 2.0], "b": [2.0, 2.0]}
    assert turns == [("a", 2, 1), ("b", 2, 1), ("a", 2, 3), ("b", 2, 3), ("b", 2, 3), ("a", 2, 3)]


def test_the_ratio_is_of_neighbours_in_time() -> None:
    assert median_ratio([2.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == 2.0


def test_pillow_images_are_the_data_modules_up_to_crop_and_flip(noise: Path) -> None:
    images = PillowImages(noise)
    image, label = images[0]
    assert (len(images), image.shape, image.dtype) == (2000, (3, 32, 32), torch.float32)
    assert label == images.labels[0]


def test_training_is_measured_with_and_without_the_cache(noise: Path, tmp_path: Path) -> None:
    variants = {"float32": [], "float32, warm cache": ["teacher.cache=logits"]}
    rows = training.measure(noise, tmp_path, [SMALL], variants, SHORT)
    named = {row.what: row for row in rows}
    for variant in variants:
        row = named[f"resnet8 → resnet8: {variant}, against plain loop"]
        assert row.ratio == pytest.approx(row.ours / row.theirs)
        assert row.ours == row.samples[variant][0] > 0
        share = named[f"resnet8 → resnet8: {variant}, of what matrix products would allow"]
        assert share.ours == pytest.approx(row.ours)
        assert share.ratio == pytest.approx(share.ours / share.theirs)


def test_the_limit_counts_the_students_three_passes_and_the_teachers_one() -> None:
    unequal = Pair("resnet20", "resnet8")
    teacher, student = limit.flops("resnet20"), limit.flops("resnet8")
    assert limit.images_per_s(unequal, 1e9, cached=True) == pytest.approx(1e9 / (3 * student))
    assert limit.images_per_s(unequal, 1e9, cached=False) == pytest.approx(1e9 / (3 * student + teacher))


@pytest.mark.parametrize("convolutions", [True, False])
def test_the_limit_multiplies_in_the_format_of_convolutions(
    monkeypatch: pytest.MonkeyPatch, convolutions: bool
) -> None:
    matmul, allowed = torch.backends.cuda.matmul, []
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", convolutions)
    monkeypatch.setitem(limit.SIDE, "cpu", 8)
    monkeypatch.setattr(torch, "mm", lambda a, b: allowed.append(matmul.allow_tf32))
    before = matmul.allow_tf32
    limit.matrix_rate(torch.device("cpu"), torch.float32)
    assert {*allowed} == {convolutions}
    assert matmul.allow_tf32 == before


def test_a_warm_cache_is_never_filled_while_it_is_measured(noise: Path, tmp_path: Path) -> None:
    config = training.composed(SMALL, noise, ["teacher.cache=logits", f"paths.cache_dir={tmp_path}"])
    ours = training.Ours(config, tmp_path)
    ours(1, 2)
    filled = ours.module.teacher.answers.filled()[0]
    assert len(filled) == (1 + 2 + 1) * 64
    ours(1, 2)
    assert torch.equal(ours.module.teacher.answers.filled()[0], filled)


def test_overhead_is_a_ratio_of_times(noise: Path, tmp_path: Path) -> None:
    (row,) = overhead.measure(noise, tmp_path, (SMALL,), SHORT)
    assert row.ratio == pytest.approx(row.ours / row.theirs)
    assert {*row.samples} == {"bare loop", "under the Trainer"}


def test_students_together_are_measured_against_their_own_steps(noise: Path, tmp_path: Path) -> None:
    plain, warm = students.measure(noise, tmp_path, "resnet8", ("resnet8", "resnet14"), SHORT)
    alone = [plain.samples[name][0] for name in ("resnet8", "resnet14")]
    teacher = plain.samples[students.PASS][0]
    assert plain.ratio == pytest.approx(plain.samples[students.TOGETHER][0] / (sum(alone) + teacher))
    assert warm.ratio == pytest.approx(warm.samples[students.WARM][0] / sum(alone))
    assert warm.ours == pytest.approx(1000 * warm.samples[students.WARM][0])


def test_the_command_writes_what_it_prints(
    noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = Row("training", "a, against b", 50.0, 100.0, "images/s", 2.0, {"a": [100.0]})
    monkeypatch.setitem(command.PARTS, "training", lambda root, folder: [measured])
    file = tmp_path / "new" / "bench.json"
    command.main([str(noise), "--json", str(file), "--only", "training"])
    record = json.loads(file.read_text())
    assert {*record} == {"machine", "data", "rows", "seconds"}
    assert {"cpu", "cores", "threads", "torch", "gpu"} <= {*record["machine"]}
    assert [{*row} for row in record["rows"]] == [FIELDS]
    assert "| a, against b | 50.0 images/s | 100 images/s | 2.00 |" in capsys.readouterr().out


def test_only_the_table_goes_to_stdout(
    noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def part(root: Path, folder: Path) -> list[Row]:
        terminal.say("compiling", "what a callback says")
        return []

    monkeypatch.setitem(command.PARTS, "training", part)
    command.main([str(noise), "--json", str(tmp_path / "bench.json"), "--only", "training"])
    shown = capsys.readouterr()
    assert shown.out.startswith("| what |")
    assert "compiling" in shown.err
    assert "compiling" not in shown.out


def test_a_part_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--only", "weather"])
    assert "there are training" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_is_measured_with_and_without_the_cache(whole_noise: Path, tmp_path: Path) -> None:
    rows = sweep.compare(SMALL, whole_noise, tmp_path / "sweep", sweep.Length(images=100, epochs=1))
    assert all(row.theirs > 0 and row.ours > 0 for row in rows)
    assert len(rows) == 2


@pytest.mark.slow
def test_a_commands_time_is_measured(tmp_path: Path) -> None:
    assert startup.run([*startup.TRAIN, "--help"], tmp_path) > 0
