"""Temperature, alpha and the numbers of terms as schedules on a command line; sample weights there, too."""

import json
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from kd_lightning.config.folder.foreign import check_foreign
from kd_lightning.config.folder.stored_config import stored_values
from kd_lightning.objective import Objective
from kd_lightning.runs.metrics_rows import read_rows
from kd_lightning.schedules import Progress
from tests.cli.test_configs import composed
from tests.conftest import Command

SCHEDULES = "{_target_: kd_lightning.schedules."
LINEAR = SCHEDULES + "Linear, start: 8, end: 1}"
COSINE = SCHEDULES + "Cosine, start: 0.9, end: 0.1}"
NEAR = SCHEDULES + "NearTeacher, start: 0.9, end: 0.1}"
ENTROPIC = SCHEDULES + "ByTeacherEntropy, sure: 8, unsure: 1}"
PLATEAU = SCHEDULES + "Plateau, start: 1.0, factor: 0.5, end: 0.25, patience: 0}"
STEPS = SCHEDULES + "Steps, values: [8, 2], epochs: [1]}"
ENTROPY = "{_target_: kd_lightning.losses.sample_weights.Entropy}"
QUICK = ("teacher.weights=null", "scratch=false", "callbacks.progress_bar=null", "teacher.model=digits_cnn_4")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            [f"temperature={SCHEDULES}Linear, start: 8, end: 0}}"],
            "temperature=Linear(start=8, end=0): takes the value 0;",
        ),
        ([f"alpha={SCHEDULES}Steps, values: [0.5, 1.5], epochs: [1]}}"], "takes the value 1.5; the share of the soft"),
        (["temperature={start: 8, end: 1}"], "must be a number above 0; 4 is usual"),
        (
            ["temperature={_target_: torch.nn.ReLU}"],
            "temperature._target_=torch.nn.ReLU: makes no kd_lightning.schedul",
        ),
        (
            [f"temperature={SCHEDULES}Linear, start: 8, stop: 1}}"],
            "temperature.stop=1: kd_lightning.schedules.Linear has",
        ),
        ([f"loss.kd.weight={SCHEDULES}Linear, start: 1, end: -1}}"], "loss.kd.weight=Linear(start=1, end=-1): takes"),
        (["loss=[ce,dkd]", f"loss.dkd.loss.beta={SCHEDULES}Linear, start: 1, end: -1}}"], "loss.dkd.loss.beta=Linear("),
        (["loss=[ce,crd]", f"loss.crd.loss.embedding={LINEAR}"], "decides what is made before the training"),
        (
            ["data.val_fraction=0", f"alpha={NEAR}"],
            "would follow the test set; set data.val_fraction above 0, or a sch",
        ),
        ([f"temperature={SCHEDULES}ByTeacherEntropy, sure: 8, unsure: 0}}"], "takes the value 0"),
        (["trainer.limit_val_batches=0", f"alpha={NEAR}"], "its schedule follows what validation measures, and there"),
        (
            [f"alpha={SCHEDULES}NearTeacher, start: 0.9, end: 0.1, teacher: big}}"],
            "compares with big, and there is no big",
        ),
        (
            [f"alpha={SCHEDULES}NearTeacher, start: 0.9, end: 0.1, metric: best}}"],
            "metric=best: validation measures no",
        ),
        (["method=dkd", f"temperature={LINEAR}"], "no term of the loss takes the run's temperature"),
        (["trainer.max_epochs=-1", f"temperature={LINEAR}", "scheduler=constant"], "kd changes over the whole of it"),
        (
            ["loss.kd.sample_weight=teacher.confidence"],
            "loss.kd.sample_weight=teacher.confidence: the teacher has no such",
        ),
        (
            ["loss=[ce,rkd]", "+loss.rkd.sample_weight=teacher.pooled"],
            "loss.rkd.sample_weight=teacher.pooled: RKD compares",
        ),
    ],
)
def test_what_is_not_allowed_is_one_line(command: Command, arguments: list[str], told: str) -> None:
    outcome = command("kd-train", *QUICK, *arguments)
    assert outcome.code == 2
    [line] = outcome.error_lines
    assert told in line
    assert not list(outcome.folder.glob("outputs/*/*/summary.json"))


def test_a_run_follows_them_and_is_tested_again(command: Command) -> None:
    arguments = (f"temperature={LINEAR}", f"alpha={COSINE}", f"loss.kd.sample_weight={ENTROPY}")
    outcome = command(
        "kd-train", *QUICK, *arguments, "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "hydra.run.dir=run"
    )
    assert outcome.code == 0, outcome.errors
    shown = " ".join(outcome.output.replace("│", " ").split())
    assert "SoftTarget(temperature=Linear(start=8, end=1)), weight Cosine(start=0.9, end=0.1)" in shown
    assert "samples by Entropy()" in shown
    rows = [row for row in read_rows(Path("run/metrics.csv")) if row.get("train/kd_temperature")]
    for number, row in enumerate(rows):
        assert float(row["train/kd_temperature"]) == pytest.approx(8 - 7 * number / len(rows))
        assert float(row["train/ce_weight"]) + float(row["train/kd_weight"]) == pytest.approx(1.0)
    assert len(rows) == 14
    objective = json.loads(Path("run/summary.json").read_text())["objective"]
    assert objective["kd"] == {"loss": "SoftTarget", "weight": 0.1, "temperature": 1.0, "sample_weight": "Entropy"}
    assert objective["ce"]["weight"] == pytest.approx(0.9)
    stored = stored_values(Path("run"))
    assert stored is not None
    check_foreign(stored, "run")  # a stranger may test it
    again = command("kd-eval", "run=run")
    assert again.code == 0, again.errors


def test_a_run_adapts_to_its_validations_and_tells_the_last_numbers(command: Command) -> None:
    arguments = (f"alpha={NEAR}", f"temperature={ENTROPIC}", "loss=[ce,kd,sp]", f"loss.sp.weight={PLATEAU}")
    outcome = command(
        "kd-train", *QUICK, *arguments, "trainer.max_epochs=3", "trainer.log_every_n_steps=1", "hydra.run.dir=run"
    )
    assert outcome.code == 0, outcome.errors
    rows = [row for row in read_rows(Path("run/metrics.csv")) if row.get("train/kd_temperature")]
    steps = len(rows) // 3
    temperatures, weights = ([float(row[f"train/kd_{name}"]) for row in rows] for name in ("temperature", "weight"))
    assert (temperatures[0], weights[0]) == pytest.approx((8.0, 0.9))
    for values in (temperatures, weights):
        assert [len({*values[steps * epoch : steps * (epoch + 1)]}) for epoch in range(3)] == [1, 1, 1]
        assert values[steps] < values[0]
    objective = json.loads(Path("run/summary.json").read_text())["objective"]
    assert 0.0999 < objective["kd"]["weight"] < 0.9
    assert objective["ce"]["weight"] == pytest.approx(1 - objective["kd"]["weight"])
    assert 1.0 < objective["kd"]["temperature"] < 8.0
    again = command("kd-eval", "run=run")
    assert again.code == 0, again.errors


def test_a_sweep_over_a_schedule_and_a_number(command: Command) -> None:
    outcome = command(
        "kd-train", "-m", *QUICK, f"temperature={STEPS},4", "trainer.max_epochs=1", "hydra.sweep.dir=sweep"
    )
    assert outcome.code == 0, outcome.errors
    assert "Steps(values=[8, 2], epochs=[1])" in outcome.output
    temperatures = [OmegaConf.load(f"sweep/{job}/.hydra/config.yaml").temperature for job in (0, 1)]
    assert temperatures[0]["values"] == [8, 2]
    assert temperatures[1] == 4
    report = command("kd-report", "sweep")
    assert report.code == 0, report.errors
    assert "_target_" not in report.output


@pytest.mark.parametrize(
    ("value", "moments"),  # temperature and alpha by the training's fraction
    [
        ("cosine", {0.0: (8.0, 0.9), 0.5: (4.5, 0.5), 1.0: (1.0, 0.1)}),
        ("two_stages", {0.0: (10, 1), 0.12: (8, 1), 0.45: (1, 1), 0.5: (1, 0), 1.0: (1, 0)}),
        ("pocl", {0.0: (1, 0.7), 0.25: (1.33, 0.8), 0.6: (1.67, 0.9), 1.0: (2, 1)}),
        ("near_teacher", {0.0: (4, 0.9)}),
        ("teacher_entropy", {0.0: (8, 0.9)}),
        ("plateau", {0.0: (8, 0.9)}),
    ],
)
def test_ready_schedules_of_temperature_and_alpha(value: str, moments: dict[float, tuple[float, float]]) -> None:
    terms = {name: instantiate(term) for name, term in composed(f"annealing={value}").loss.items()}
    for fraction, (temperature, alpha) in moments.items():
        progress = Progress(epoch=10 * fraction, fraction=fraction)
        with terms["kd"].numbers_at(progress):
            assert terms["kd"].loss.temperature == pytest.approx(temperature)
        weights = [terms[name].weight_at(progress) for name in ("kd", "ce")]
        assert weights == pytest.approx([alpha, 1 - alpha])


def test_a_ready_schedule_stands_over_a_method_and_is_changed_by_its_keys() -> None:
    config = composed("method=kd", "annealing=cosine", "alpha.end=0.3")
    assert (config.temperature.start, config.alpha.end) == (8.0, 0.3)


@pytest.mark.parametrize("value", ["self_paced", "entropy", "entropy_of_both", "confidence", "teacher_correct"])
def test_ready_weights_of_any_term(value: str) -> None:
    config = composed(f"+curriculum/weight@loss.kd.sample_weight={value}")
    term = Objective({"kd": instantiate(config.loss.kd)})
    logits = {"student.logits": torch.randn(8, 10), "teacher.logits": torch.randn(8, 10)}
    value = term({**logits, "target": torch.arange(8)}, Progress(fraction=0.5)).total
    assert bool(value.isfinite())
    assert not torch.equal(value, Objective({"kd": instantiate(composed().loss.kd)})(logits, Progress()).total)


def test_a_run_with_ready_weights_and_schedules(command: Command) -> None:
    outcome = command(
        "kd-train", *QUICK, "annealing=pocl", "+curriculum/weight@loss.kd.sample_weight=self_paced",
        "trainer.max_epochs=1", "hydra.run.dir=run",
    )  # fmt: skip
    assert outcome.code == 0, outcome.errors
    objective = json.loads(Path("run/summary.json").read_text())["objective"]
    assert objective["kd"] == {"loss": "SoftTarget", "weight": 1.0, "temperature": 2.0, "sample_weight": "SelfPaced"}
