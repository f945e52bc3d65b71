"""`logger=wandb`: what it writes without a network, and what becomes of a training where it is refused."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from safetensors import safe_open

from kd_lightning.commands.train import main
from kd_lightning.config.conf import conf_dir
from tests.conftest import Command
from tests.experiment.test_train import SHORT
from tests.tracking.wandb_file import WandbFile, read_runs

QUICK = ("trainer.max_epochs=2", "trainer.log_every_n_steps=2", "teacher.model=digits_cnn_8")
LOGGERS = "logger=[csv,tensorboard,wandb]"
KEY = "0123456789" * 4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one offline run with all loggers."""
    folder = tmp_path_factory.mktemp("offline")
    falling = "loss.dkd.weight={_target_: kd_lightning.schedules.Linear, start: 1.0, end: 0.5}"
    terms = ("loss=[ce,kd,ctkd,dkd]", falling, "temperature=2", "alpha=0.5", "hydra.run.dir=run")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name, value in {"WANDB_MODE": "offline", "HOME": folder, "KD_LIGHTNING_CACHE": folder / "cache"}.items():
            patch.setenv(name, str(value))
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["kd-train", *QUICK, *terms, LOGGERS])
        main()
    return folder / "run"


@pytest.fixture
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nobody is logged in, and Weights & Biases reads its environment anew."""
    wandb.teardown()
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "online")  # and this is put back, whatever a training sets
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    wandb.teardown()


@pytest.fixture(scope="module")
def roles(run: Path) -> dict[str, WandbFile]:
    """The one run of each training."""
    found = {"teacher": read_runs(run / "teacher"), "scratch": read_runs(run / "scratch"), "student": read_runs(run)}
    assert {role: len(runs) for role, runs in found.items()} == {"teacher": 1, "scratch": 1, "student": 1}
    return {role: runs[0] for role, runs in found.items()}


def test_several_loggers_at_once(run: Path) -> None:
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))
    assert len(list((run / "wandb").glob("offline-run-*/*.wandb"))) == 1, "the student's run alone"
    assert wandb.run is None, "the next training in this process has a run of its own"
    assert (run / "metrics.csv").exists()


def test_each_training_is_a_run_of_its_own_with_its_job_type(roles: dict[str, WandbFile]) -> None:
    assert len({file.run.run_id for file in roles.values()}) == 3
    assert {role: file.run.job_type for role, file in roles.items()} == {role: role for role in roles}
    assert {file.run.run_group for file in roles.values()} == {"run"}
    assert {file.exit_code for file in roles.values()} == {0}


def test_a_person_can_read_its_name_and_tags(roles: dict[str, WandbFile]) -> None:
    names = {role: file.run.display_name for role, file in roles.items()}
    assert names == {
        "teacher": "digits_cnn_8 as teacher, seed 0",
        "scratch": "digits_cnn_4 alone, seed 0",
        "student": "digits_cnn_4 ← digits_cnn_8, ce+kd+ctkd+dkd, T=2 α=0.5, seed 0",  # noqa: RUF001
    }
    assert list(roles["student"].run.tags) == ["ce+kd+ctkd+dkd", "digits"]
    assert list(roles["teacher"].run.tags) == ["digits"]


def test_the_config_is_flat_and_only_distilled_students_have_a_temperature(roles: dict[str, WandbFile]) -> None:
    config = roles["student"].config
    assert (config["temperature"], config["alpha"], config["seed"]) == (2, 0.5, 0)
    assert (config["student.model"], config["teacher.model"]) == ("digits_cnn_4", "digits_cnn_8")
    assert config["optimizer.lr"] == 0.05
    assert config["data.name"] == "digits"
    assert not any(isinstance(value, dict) and value for name, value in config.items() if name != "_wandb")
    for role, other in (("teacher", "student"), ("scratch", "teacher")):
        assert not {"temperature", "alpha", f"{other}.model"} & {*roles[role].config}


def test_it_has_every_scalar(roles: dict[str, WandbFile], run: Path) -> None:
    terms = {f"train/{term}{kind}" for term in ("ce", "kd", "ctkd", "dkd") for kind in ("", "_weighted")}
    changing = {"train/dkd_weight", "train/ctkd_temperature"}
    measured = {"train/loss", "train/gradient_norm", "train/images_per_s"}
    scalars = roles["student"].scalars
    assert terms | changing | measured | {"val/top1", "val/nll", "test/top1", "epoch"} <= scalars
    assert any(name.startswith("lr-") for name in scalars)
    assert not {"train/ce_weight", "train/kd_temperature", "train/memory_gib"} & scalars, "constants; and no GPU"
    assert measured | {"train/ce", "test/top1"} <= roles["teacher"].scalars
    steps = [row["trainer/global_step"] for row in roles["student"].history if "train/loss" in row]
    assert steps == [1, 3, 5, 7, 9, 11, 13], "every second step of two epochs"
    header = (run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {name for name in scalars if "/" in name} - {*header} == {"trainer/global_step"}


def test_its_summary_is_the_runs(roles: dict[str, WandbFile], run: Path) -> None:
    record = json.loads((run / "summary.json").read_text())
    summary = roles["student"].summary
    for name in ("top1", "nll", "ece", "agreement"):
        assert summary[f"test/{name}"] == pytest.approx(record["student"][name]), name
    assert summary["teacher/top1"] == pytest.approx(record["teacher"]["top1"])
    assert summary["gain/top1"] == pytest.approx(record["student"]["top1"] - record["scratch"]["top1"])
    assert roles["teacher"].summary["test/top1"] == pytest.approx(record["teacher"]["top1"])


def test_the_three_networks_are_compared_in_a_table(roles: dict[str, WandbFile], run: Path) -> None:
    record = json.loads((run / "summary.json").read_text())
    table = roles["student"].table("comparison")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["network"] for row in rows] == ["teacher", "scratch", "student"]
    assert [row["top1"] for row in rows] == pytest.approx([record[row["network"]]["top1"] for row in rows])


def test_the_confusion_matrix_counts_every_test_image(roles: dict[str, WandbFile], run: Path) -> None:
    record = json.loads((run / "summary.json").read_text())
    for role, file in roles.items():
        table = file.table("confusion_matrix_table")
        assert table["columns"] == ["Actual", "Predicted", "nPredictions"]
        assert sum(count for *_, count in table["data"]) == record["data"]["images"]["test"]
        right = sum(count for actual, predicted, count in table["data"] if actual == predicted)
        assert right / record["data"]["images"]["test"] == pytest.approx(record[role]["top1"])


def test_the_reliability_diagram_has_points_between_0_and_1(roles: dict[str, WandbFile]) -> None:
    table = roles["student"].table("reliability_table")
    assert {key for _, key, _ in table["data"]} == {"this network", "calibrated"}
    assert all(0 <= value <= 1 for x, _, y in table["data"] for value in (x, y))


def test_the_student_is_an_artifact_that_says_what_it_is(roles: dict[str, WandbFile], run: Path) -> None:
    record = json.loads((run / "summary.json").read_text())
    artifact = roles["student"].artifacts["digits_cnn_4-digits"]
    assert artifact.type == "model"
    assert [entry.path for entry in artifact.manifest.contents] == ["student.safetensors"]
    metadata = json.loads(artifact.metadata)
    assert metadata["top1"] == pytest.approx(record["student"]["top1"])
    expected = {"model": "digits_cnn_4", "teacher": "digits_cnn_8", "data": "digits", "temperature": 2, "alpha": 0.5}
    assert metadata.items() >= {**expected, "seed": 0}.items()
    assert metadata["kd_lightning"]
    with safe_open(artifact.manifest.contents[0].local_path, "pt") as file:
        assert file.metadata()["model"] == "digits_cnn_4"


def test_a_run_that_is_taken_up_goes_on_under_its_name(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    options = ("teacher=none", "trainer.max_epochs=3", "callbacks.progress_bar=null", "logger=[csv,wandb]")
    crash = "+callbacks.power_cut={_target_: tests.runs.test_resume.PowerCut}"
    with pytest.raises(OSError, match="no power"):
        command("kd-train", *options, "hydra.run.dir=cut", crash)
    assert wandb.run is None
    folder = command("kd-train", *options, "hydra.run.dir=cut").folder / "cut"
    first, second = read_runs(folder)
    assert first.run.run_id == second.run.run_id
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert min(row["trainer/global_step"] for row in second.history if "train/loss" in row) >= 7


def test_watching_adds_histograms(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    options = ("teacher=none", "trainer.max_epochs=15", "trainer.check_val_every_n_epoch=15", "logger=wandb")
    outcome = command("kd-train", *options, "logger.wandb.watch=all", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    (file,) = read_runs(outcome.folder / "run")
    assert {"gradients/fc.weight", "parameters/fc.weight"} <= file.scalars


def test_what_to_watch_is_checked(command: Command) -> None:
    outcome = command("kd-train", "teacher=none", "logger=wandb", "logger.wandb.watch=weights")
    assert outcome.code == 2
    assert outcome.error_lines == [
        "error: logger.wandb.watch=weights: must be one of gradients, parameters, all, or null"
    ]


def test_jobs_of_a_sweep_are_one_group_and_the_selected_one_is_tested_in_its_own_run(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb_options = ("logger=[csv,wandb]", "logger.wandb.tags=[mine]")
    sweep = ("-m", *SHORT, "scratch=false", "method=kd", "temperature=1,2", "hydra.sweep.dir=sweeps/first")
    outcome = command("kd-train", *sweep, *wandb_options)
    assert outcome.code == 0, outcome.errors
    folder = outcome.folder / "sweeps" / "first"
    jobs = [read_runs(folder / job) for job in ("0", "1")]
    assert [runs[0].config["temperature"] for runs in jobs] == [1, 2]
    assert {runs[0].run.run_group for runs in jobs} == {"first"}
    assert len({runs[0].run.run_id for runs in jobs}) == 2
    assert list(jobs[0][0].run.tags) == ["kd", "digits", "mine"]

    (selected,) = json.loads((folder / "sweep.json").read_text())["selected"]["jobs"]
    training, test = jobs.pop(int(selected))
    assert (training.run.run_id, training.run.display_name) == (test.run.run_id, test.run.display_name)
    assert "validation/top1" in training.summary
    assert "test/top1" not in training.summary
    assert test.summary["test/top1"] == json.loads((folder / selected / "summary.json").read_text())["student"]["top1"]
    assert test.table("confusion_matrix_table")
    assert ["test/top1" in file.summary for file in jobs[0]] == [False], "the other one is not tested"


class Refusal(BaseHTTPRequestHandler):
    """A server that knows no key."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = json.dumps({"errors": [{"message": "user is not logged in"}]}).encode()
        self.send_response(401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a server that refuses every key."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.usefixtures("no_account")
@pytest.mark.parametrize("reason", ["a refused key", "no network", "no key"])
def test_it_goes_on_offline(reason: str, refusing: str, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    environments = {
        "a refused key": {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": refusing},
        "no network": {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_INIT_TIMEOUT": "2"},
        "no key": {},
    }
    for name, value in environments[reason].items():
        monkeypatch.setenv(name, value)
    outcome = command("kd-train", *QUICK[:-1], "teacher=none", "logger=[csv,wandb]", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    warnings = [line for line in outcome.errors.splitlines() if "warning" in line.lower()]
    assert len(warnings) == 1, outcome.errors
    assert warnings[0].startswith("warning: Weights & Biases: ")
    assert warnings[0].endswith("the training goes on offline")
    assert "wandb sync" in outcome.output
    files = read_runs(outcome.folder / "run")
    (file,) = [file for file in files if file.path.parent.name.startswith("offline")]
    assert {"train/loss", "val/top1"} <= file.scalars
    assert "test/top1" in file.summary
    assert "digits_cnn_4-digits" in file.artifacts


@pytest.mark.usefixtures("no_account")
def test_an_agents_run_is_the_students_and_the_only_one(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = {"WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "chosen1", "WANDB_PROJECT": "theirs"}
    for name, value in {**agent, "WANDB_MODE": "offline"}.items():
        monkeypatch.setenv(name, value)
    outcome = command("kd-train", *SHORT, "scratch=false", "logger=[csv,wandb]", "hydra.run.dir=run", "seed=3")
    assert outcome.code == 0, outcome.errors
    assert "WARNING" not in outcome.errors
    (student,) = read_runs(outcome.folder / "run")
    assert (student.run.run_id, student.run.sweep_id, student.run.project) == ("chosen1", "sweep1", "theirs")
    assert not read_runs(outcome.folder / "run" / "teacher")


def test_the_sample_for_agents_makes_sound_command_lines(command: Command) -> None:
    sample = yaml.safe_load((conf_dir() / "wandb_sweep.yaml").read_text())
    assert sample["method"] == "grid"
    assert sample["metric"] == {"name": "val/top1", "goal": "maximize"}
    assert set(sample["parameters"]) == {"temperature", "alpha", "seed"}
    values = [f"{name}={choice['values'][-1]}" for name, choice in sample["parameters"].items()]
    macros = {"${env}": [], "${args_no_hyphens}": values}
    program, *arguments = [word for part in sample["command"] for word in macros.get(part, [part])]
    assert program == "kd-train"
    outcome = command(program, *arguments, "--cfg", "job")
    assert outcome.code == 0, outcome.errors
    config = yaml.safe_load(outcome.output)
    for name, choice in sample["parameters"].items():
        assert config[name] == choice["values"][-1]
    assert {"csv", "wandb"} == {*config["logger"]}
