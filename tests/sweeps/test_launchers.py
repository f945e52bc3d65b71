"""The launchers and the search that plugins bring, each on this machine."""

import secrets
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from kd_lightning.sweeps.devices import worker_number
from tests.conftest import Command
from tests.sweeps.test_sweep import ALONE, FOLDER, SMALL, read, stamps

OTHER_SEED = "hydra.sweeper.sampler.seed=1"


def needs(plugin: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec("hydra_plugins." + plugin) is None, reason=f"{plugin} is not installed")


def validations(folder: Path) -> list[float]:
    """The validation accuracies of a sweep's jobs, all of which must have finished."""
    states = [read(path) for path in sorted(folder.glob("*/status.json"))]
    assert {state["status"] for state in states} == {"finished"}
    return [state["validation"] for state in states]


@pytest.mark.slow
@needs("hydra_joblib_launcher")
def test_of_four_jobs_at_once_one_trains_what_they_share(command: Command) -> None:
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=4", "paths.cache_dir=cache")
    outcome = command("kd-train", "-m", "temperature=1,2,4,8", *launcher, *SMALL)
    assert outcome.code == 0, outcome.errors
    [folder] = outcome.folder.glob("multirun/*/*")
    assert len(validations(folder)) == 4
    logs = [(folder / str(number) / "log.txt").read_text() for number in range(4)]
    for title in ("teacher", "student alone"):
        said = [line for log in logs for line in log.splitlines() if line.startswith(f"{title} ")]
        assert sorted("training" in line for line in said) == [False, False, False, True], said
        assert sum("found" in line for line in said) == 3
    assert len(list((outcome.folder / "cache" / "networks").glob("*/record.json"))) == 2
    assert "sweep  4/4 done, 0 running, best" in outcome.output
    assert read(folder / "sweep.json")["selected"]["jobs"]


@pytest.mark.slow
@needs("hydra_submitit_launcher")
def test_jobs_of_submitit(command: Command) -> None:
    outcome = command("kd-train", "-m", "seed=0", "hydra/launcher=submitit_local", *ALONE)
    assert outcome.code == 0, outcome.errors
    [folder] = outcome.folder.glob("multirun/*/*")
    assert len(validations(folder)) == 1
    assert read(folder / "sweep.json")["selected"]["jobs"] == ["0"]


@pytest.mark.slow
@needs("hydra_ray_launcher")
def test_jobs_of_ray(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else it writes one into the user's home
    one_worker = [f"+hydra.launcher.ray.init.{option}" for option in ("num_cpus=1", "include_dashboard=false")]
    losses = "loss.ce.loss._target_=kd_lightning.losses.CrossEntropy,tests.sweeps.test_sweep.Broken"
    outcome = command("kd-train", "-m", losses, "hydra/launcher=ray", *one_worker, *ALONE)
    assert outcome.code == 1, outcome.errors
    [folder] = outcome.folder.glob("multirun/*/*")
    assert [read(folder / name / "status.json")["status"] for name in ("0", "1")] == ["finished", "failed"]


@needs("hydra_optuna_sweeper")
def test_a_search_goes_where_the_task_says(command: Command) -> None:
    search = ("hparams_search=optuna", "hydra.sweeper.n_trials=2", "trainer.limit_train_batches=2", "scratch=false")
    outcome = command("kd-train", *search, "task.selects_on=nll", *SMALL, FOLDER)
    assert outcome.code == 0, outcome.errors
    folder = outcome.folder / "sweep"
    reached = [read(folder / str(number) / "summary.json")["student"]["nll_validation"] for number in range(2)]
    assert f"best_value: {min(reached)}" in (folder / "optimization_results.yaml").read_text()
    assert read(folder / "sweep.json")["selected"]["jobs"] == [str(reached.index(min(reached)))]


@pytest.mark.slow
@needs("hydra_optuna_sweeper")
def test_a_search_survives_a_failing_job_and_can_be_taken_up_again(command: Command) -> None:
    search = ("hparams_search=optuna", "hydra.sweeper.n_trials=3", "seed=0")
    outcome = command("kd-train", *search, "temperature=choice(0,2)", *SMALL, "scratch=false", FOLDER)
    folder = outcome.folder / "sweep"
    states = [read(folder / str(number) / "status.json") for number in range(3)]
    failed = [number for number, state in enumerate(states) if "temperature=0" in state["overrides"]]
    assert 1 <= len(failed) <= 2, "the seeded proposals hold both temperatures"
    assert [number for number, state in enumerate(states) if state["status"] == "failed"] == failed
    assert outcome.code == 1
    assert f"job {failed[0]} (temperature=0 alpha=" in outcome.output
    assert "the search takes its top-1 for 0" in outcome.output
    best = max(state["validation"] for state in states if state["validation"] is not None)
    assert f"best_value: {best}" in (folder / "optimization_results.yaml").read_text()
    before = stamps(folder)
    search = (search[0], "hydra.sweeper.n_trials=4", search[2])
    command("kd-train", *search, "temperature=choice(0,2)", *SMALL, "scratch=false", FOLDER)
    after = stamps(folder)
    assert {path: after[path] for path in before} == before, "later jobs were chosen by what became of these"
    assert (folder / "3" / "status.json").exists()
    other = command("kd-train", *search, "temperature=choice(0,2)", *SMALL, "scratch=false", FOLDER, OTHER_SEED)
    assert other.code == 2
    assert "holds the sweep" in other.error_lines[0]


@needs("hydra_optuna_sweeper")
def test_a_search_needs_validation_data(command: Command) -> None:
    outcome = command("kd-train", "hparams_search=optuna", "data.val_fraction=0")
    assert outcome.code == 2
    assert outcome.error_lines == [
        "error: data.val_fraction=0: a search would select on the test set; set data.val_fraction above 0"
    ]
    assert list(outcome.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "extra"),
    [
        ("hydra/launcher=joblib", "joblib"),
        ("hydra/launcher=submitit_slurm", "submitit"),
        ("hydra/launcher=ray", "ray"),
        ("hparams_search=optuna", "optuna"),
    ],
)
def test_a_plugin_that_is_missing(override: str, extra: str, tmp_path: Path) -> None:
    without = "import sys; sys.modules['hydra_plugins'] = None; from kd_lightning.commands.train import main; main()"
    command = [sys.executable, "-c", without, "-m", override, "seed=0,1"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert lines[0].endswith(f'is not installed; pip install "kd-lightning[{extra}]"')


def test_workers_of_joblib_are_numbered_from_0() -> None:
    assert [worker_number(name) for name in ("LokyProcess-1", "LokyProcess-12")] == [0, 11]
    assert worker_number("MainProcess") is None
    assert worker_number("SpawnProcess-1") is None
