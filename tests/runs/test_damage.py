"""A damaged file costs only itself: it is made anew with a warning that names it, or one line says what to do."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from kd_lightning.data.folders.decoded import decoded
from kd_lightning.models import save_weights
from kd_lightning.runs.arrays import read_arrays
from kd_lightning.runs.metrics_rows import write_checksums
from kd_lightning.store import RecordFile, folders
from kd_lightning.system.checksums import safetensors_fault
from kd_lightning.system.files import write_json
from kd_lightning.system.records import (
    NONE,
    NUMBER,
    Damaged,
    Each,
    Then,
    fault,
    read_record,
    sealed_yaml,
    sound_record,
    warn_once,
)
from tests.conftest import SHORT, Command
from tests.data.test_small_folder import counted, picture
from tests.torture import damage

RECORD = {"student": {"model": "digits_cnn_4", "top1": 0.5625}, "seeds": [0, 1]}
BREAKING = (damage.emptied, damage.truncated, damage.holed, damage.a_list, damage.null, damage.no_text, damage.a_folder)
QUICK = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.accelerator=cpu")


def chance() -> random.Random:
    """Anew for each damage, so that none depends on what was drawn before: its first draws are small."""
    return random.Random(1)


@pytest.fixture(autouse=True)
def _told_again() -> None:
    warn_once.cache_clear()


def flips(content: bytes) -> list[bytes]:
    """The content with each of its bits flipped."""
    found = [bytearray(content) for _ in range(8 * len(content))]
    for number, each in enumerate(found):
        each[number // 8] ^= 1 << number % 8
    return [bytes(each) for each in found]


def test_each_flipped_bit_of_a_record_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, RECORD)
    assert json.loads(path.read_text()) == RECORD, "other readers see no key that is not theirs"
    assert read_record(path, {}) == RECORD
    for content in flips(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(Damaged):
            read_record(path, {}, strict=True)


def test_each_flipped_bit_of_a_config_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(sealed_yaml(yaml.safe_dump(RECORD)))
    assert read_record(path, {}, yaml.safe_load) == RECORD
    for content in flips(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(Damaged):
            read_record(path, {}, yaml.safe_load, strict=True)


@pytest.mark.parametrize("parse", [json.loads, yaml.safe_load])
def test_each_byte_that_is_cut_off_is_seen(
    parse: Callable[[str], Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is left may be as good as whole; then a warning names it, and where it is made anew nothing is taken."""
    path = tmp_path / "record"
    values = RECORD if parse is json.loads else ["temperature=4", "seed=1"]
    if parse is json.loads:
        write_json(path, RECORD)
    else:
        path.write_text(sealed_yaml(yaml.safe_dump(values)))
    content, shape, taken = path.read_bytes(), type(values), []
    assert read_record(path, shape, parse, strict=True) == values
    for length in range(1, len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(Damaged):
            read_record(path, shape, parse, strict=True)
        warn_once.cache_clear()
        capfd.readouterr()
        if sound_record(path, shape, "it is left out", parse) is not None:
            taken.append(length)
        assert f"warning: {path}: " in capfd.readouterr().err
    assert taken


def test_a_file_that_others_wrote_anew_is_taken_with_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_json(tmp_path / "record.json", RECORD)
    changed = json.loads((tmp_path / "record.json").read_text()) | {"seeds": [2]}
    for text in (json.dumps(changed), json.dumps(changed, indent=2) + "\n"):
        (tmp_path / "record.json").write_text(text)
        warn_once.cache_clear()
        assert read_record(tmp_path / "record.json", {"seeds": [int]}) == changed
        assert f"warning: {tmp_path / 'record.json'}: has no checksum" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("value", "shape", "words"),
    [
        ([], {"a": int}, "it is []"),
        (None, {"a": int}, "it is None"),
        ({"a": "x"}, {"a": NUMBER}, "a is 'x'"),
        ({"a": {"b": None}}, {"a": {"b": str}}, "a.b is None"),
        ({"a": {}}, {"a": {"b": str}}, "a.b is missing"),
        ({"a": [1, "x"]}, {"a": [int]}, "a[1] is 'x'"),
        ({"a": 1, "b": []}, Each((*NUMBER, NONE), {"a": int}), "b is []"),
        ({"a": "z"}, {"a": frozenset("xy")}, "a is 'z'"),
        ({"a": 1}, Then({"a": str}, lambda value: {value["a"]: int}), "a is 1"),
        ({"a": "b", "b": "x"}, Then({"a": str}, lambda value: {value["a"]: int}), "b is 'x'"),
    ],
)
def test_what_is_of_another_shape_is_named(value: Any, shape: Any, words: str) -> None:
    assert fault(value, shape) == words


def test_what_is_of_a_shape_is_sound() -> None:
    assert fault({"a": 1, "b": None, "c": 2.5}, Each((*NUMBER, NONE), {"a": int})) is None
    assert fault({"a": None, "more": []}, {"a": (Each(int), NONE)}) is None
    assert fault({"a": "b", "b": 1}, Then({"a": frozenset("ab")}, lambda value: {value["a"]: int})) is None


def test_each_flipped_bit_of_weights_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(nn.Linear(2, 1), path, {"mean": "[0.5]"})
    content = path.read_bytes()
    assert safetensors_fault(path) is None
    name, padding = content.index(b'"sha256"'), len(content[8:]) - len(content[8:].rstrip())
    assert padding < 8
    for place, changed in enumerate(flips(content)):
        path.write_bytes(changed)
        is_of_no_number = name < place // 8 < name + 8  # the name of the checksum, which is then not told
        assert is_of_no_number or safetensors_fault(path) is not None, place
    assert "mean" in content.decode(errors="replace")


@pytest.mark.parametrize("how", [*BREAKING, damage.without_a_key, damage.of_another_type])
def test_a_report_tells_a_summary_that_is_damaged(how: damage.Damage, run_folder: Path, command: Command) -> None:
    how(run_folder / "summary.json", chance())
    outcome = command("kd-report", "run", "--format=csv")
    assert outcome.code == 0, outcome.errors
    assert "Traceback" not in outcome.errors
    if "damaged" in (run_folder / "report.csv").read_text():
        assert f"warning: run/summary.json: is damaged ({''}" in outcome.errors
        assert "goes on" in outcome.errors
    else:  # a key that nobody reads
        assert how in (damage.without_a_key, damage.of_another_type)


PAGE = ("environment.json", "evaluation.npz", "checksums.json", ".hydra/overrides.yaml", "metrics.csv")


def test_a_page_tells_what_is_gone_of_a_finished_run(run_folder: Path, command: Command) -> None:
    whole = command("kd-report", "run")
    assert "warning" not in whole.errors
    for file in PAGE:
        (run_folder / file).unlink()
    outcome = command("kd-report", "run")
    assert outcome.code == 0, outcome.errors
    for file in [*PAGE[:-1]]:
        assert f"warning: run/{file}: is not there any more" in outcome.errors


@pytest.mark.parametrize("file", ["metrics.csv", "teacher/metrics.csv"])
def test_a_digit_that_is_another_changes_no_curve_without_a_word(file: str, run_folder: Path, command: Command) -> None:
    content = (run_folder / "metrics.csv").read_bytes()
    (run_folder / "teacher").mkdir(exist_ok=True)
    (run_folder / "teacher" / "metrics.csv").write_bytes(content)  # as if this run had trained it
    write_checksums(run_folder)
    lines = content.splitlines(keepends=True)
    place = next(number for number, byte in enumerate(lines[-1]) if chr(byte) in "12345678")
    lines[-1] = lines[-1][:place] + b"9" + lines[-1][place + 1 :]
    for changed in (b"".join(lines), content[: content.rfind(b"\n", 0, -1) + 1], content[:-1]):
        (run_folder / file).write_bytes(changed)
        warn_once.cache_clear()
        outcome = command("kd-report", "run")
        assert outcome.code == 0, outcome.errors
        assert f"warning: run/{file}: is damaged" in outcome.errors
    (run_folder / file).unlink()
    assert f"warning: run/{file}: is not there any more" in command("kd-report", "run").errors


@pytest.mark.parametrize("how", [damage.flipped, damage.truncated, damage.gone, damage.null])
def test_a_finished_runs_config_is_written_anew(how: damage.Damage, run_folder: Path, command: Command) -> None:
    configs = [run_folder / ".hydra" / name for name in ("resolved.yaml", "overrides.yaml")]
    for path in configs:
        how(path, random.Random(1))
    outcome = command("kd-train", *SHORT, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    read_record(configs[1], [str], yaml.safe_load, strict=True)
    assert "warning" not in command("kd-report", "run").errors


@pytest.mark.parametrize("file", ["summary.json", "evaluation.npz"])
def test_what_was_measured_is_made_anew(file: str, run_folder: Path, command: Command) -> None:
    before = json.loads((run_folder / "summary.json").read_text())
    arrays = read_arrays(run_folder / "evaluation.npz")
    content = bytearray((run_folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (run_folder / file).write_bytes(content)
    outcome = command("kd-train", *SHORT, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    assert f"{file}: is damaged" in outcome.errors
    assert "made anew" in outcome.errors
    after = json.loads((run_folder / "summary.json").read_text())
    assert damage.without_times(after) == damage.without_times(before)
    assert arrays.keys() == read_arrays(run_folder / "evaluation.npz").keys()


@pytest.mark.parametrize(
    ("file", "how"),
    [
        ("summary.json", damage.flipped),
        (".hydra/resolved.yaml", damage.flipped),
        (".hydra/resolved.yaml", damage.null),
        (".hydra/resolved.yaml", damage.a_folder),
        ("checkpoints/best.ckpt", damage.holed),
        ("checkpoints/best.ckpt", damage.emptied),
    ],
)
def test_a_run_that_cannot_be_tested_is_one_line(
    file: str, how: damage.Damage, run_folder: Path, command: Command
) -> None:
    how(run_folder / file, random.Random(3))
    outcome = command("kd-eval", "run=run")
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1, outcome.errors
    assert f"run/{file}: is damaged" in outcome.error_lines[0]
    assert "; " in outcome.error_lines[0], "the remedy"


def test_a_sweeps_report_shows_the_good_jobs_and_names_the_others(
    sweep: Path, tmp_path: Path, command: Command
) -> None:
    folder = shutil.copytree(sweep, tmp_path / "copy")
    damaged = ("0/summary.json", "1/status.json", "planned.json", "sweep.json", "2/.hydra/resolved.yaml")
    (folder / "multirun.yaml").unlink()  # which is Hydra's, and read by nobody
    for number, file in enumerate(damaged):
        BREAKING[number](folder / file, chance())
    outcome = command("kd-report", "copy", "--format=html,csv,markdown")
    assert outcome.code == 0, outcome.errors
    for file in damaged[:4]:
        assert f"copy/{file}: is damaged" in outcome.errors
    states = [line.count("finished") for line in (folder / "report.csv").read_text().splitlines()[1:]]
    assert states.count(1) == 15
    assert "1 damaged" in (folder / "report.md").read_text()


def test_a_sweeps_report_names_what_is_gone(sweep: Path, tmp_path: Path, command: Command) -> None:
    folder = shutil.copytree(sweep, tmp_path / "copy")
    assert "warning" not in command("kd-report", "copy").errors
    states = (folder / "0" / "status.json", folder / "1" / "summary.json")
    for path in (*states, folder / "sweep.json"):
        path.unlink()
    outcome = command("kd-report", "copy", "--format=csv")
    assert outcome.code == 0, outcome.errors
    for name in ("0/status.json", "1/summary.json"):
        assert f"warning: copy/{name}: is not there any more" in outcome.errors
    assert "sweep.json" not in outcome.errors, "a job is unfinished, so it is still to come"
    shutil.copy(sweep / "1" / "summary.json", states[1])
    assert "warning: copy/sweep.json: is not there any more" in command("kd-report", "copy").errors
    (folder / "planned.json").unlink()
    assert "warning: copy/planned.json: is not there any more" in command("kd-report", "copy").errors


def test_the_list_of_the_cache_names_what_is_gone(tmp_path: Path) -> None:
    home = tmp_path / "measurements" / "0123"
    home.mkdir(parents=True)
    assert folders.Entry(home, "measurements").description() == "unfinished"
    write_json(home / "record.json", {"test": {}, "cache_key": {"model": "resnet8", "data": {"name": "cifar10"}}})
    assert folders.Entry(home, "measurements").description() == "evaluation.npz is not there; kd-cache rm 0123"
    (home / "evaluation.npz").touch()
    assert folders.Entry(home, "measurements").description() == "test results of resnet8 on cifar10"
    (home / "record.json").unlink()
    assert folders.Entry(home, "measurements").description() == "record.json is not there; kd-cache rm 0123"


def test_what_the_cache_keeps_is_made_anew(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher's weights and the student's metrics are damaged, and answers: the next run gives the same."""
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    options = (*QUICK, "callbacks.progress_bar=null", "teacher.model=digits_cnn_8", "teacher.cache=logits")
    first = command("kd-train", *options, "hydra.run.dir=first")
    assert first.code == 0, first.errors
    homes = {
        json.loads((home / "record.json").read_text())["cache_key"]["model"]: home
        for home in tmp_path.glob("cache/networks/*[!k]")
        if home.is_dir()
    }
    teacher, student = homes["digits_cnn_8"], homes["digits_cnn_4"]
    damage.flipped(teacher / "weights.safetensors", random.Random(1))
    damage.flipped(student / "record.json", random.Random(1))
    (described,) = tmp_path.glob("cache/answers/*/cache.json")
    damage.truncated(described, chance())
    listed = command("kd-cache", "ls")
    assert listed.code == 0
    assert listed.output.count("damaged") == 2
    second = command("kd-train", *options, "hydra.run.dir=second")
    assert second.code == 0, second.errors
    for named in (teacher / "weights.safetensors", student / "record.json", described):
        assert f"{named}: is damaged" in second.errors
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("first", "second")]
    assert damage.without_times(summaries[0]) == damage.without_times(summaries[1])
    assert "is damaged" not in command("kd-train", *options, "hydra.run.dir=third").errors


@pytest.mark.parametrize("file", ["pixels.npy", "images.json"])
def test_a_flipped_bit_of_decoded_images_is_seen(file: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(8):
        picture(tmp_path / "photos" / "train" / ("ant" if number < 4 else "bee") / f"{number % 4}.png", number)
    cache = tmp_path / "cache"
    images = decoded(counted(tmp_path / "photos"), cache).images.clone()
    (home,) = (path for path in cache.glob("images/*") if path.is_dir())
    damage.flipped(home / file, random.Random(2))
    again = counted(tmp_path / "photos")
    assert torch.equal(decoded(again, cache).images, images)
    assert sorted(again.rows) == [*range(8)]
    assert f"{home}: is damaged" in capfd.readouterr().err
    unharmed = counted(tmp_path / "photos")
    decoded(unharmed, cache)
    assert unharmed.rows == []


def test_damaged_answers_are_named_and_absent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    records = RecordFile(tmp_path / "answers.bin", 4, 6)
    records.write(torch.arange(4), torch.ones(4, 6, dtype=torch.int16))
    content = bytearray((tmp_path / "answers.bin").read_bytes())
    content[3] ^= 4
    (tmp_path / "answers.bin").write_bytes(content)
    assert RecordFile(tmp_path / "answers.bin", 4, 6).read(torch.arange(4))[1].tolist() == [False, True, True, True]
    assert f"warning: {tmp_path / 'answers.bin'}: some of its records are damaged" in capfd.readouterr().err


@pytest.mark.slow
def test_each_file_with_each_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole table: whatever reads a damaged file gives the same, with a warning, or is one line."""
    monkeypatch.setenv("COLUMNS", os.environ.get("COLUMNS", "80"))  # which the trials change, as the cache's place
    whole = damage.prepared(tmp_path / "whole")
    problems = [damage.problem(attempt, whole, tmp_path / "damaged") for attempt in damage.attempts()]
    assert [problem for problem in problems if problem] == []
