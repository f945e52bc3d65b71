"""plan=assistants and plan=born_again: networks that were taught teach the next one, and are kept."""

import json
import re
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode

from kd_lightning import Term
from kd_lightning.experiment.checks.config import check
from kd_lightning.losses import SoftTarget
from kd_lightning.models import create_model
from kd_lightning.plans import Mean, Trained, Training
from kd_lightning.plans.assistants import OverTeachers
from kd_lightning.plans.follow import follow
from kd_lightning.schedules import Progress
from kd_lightning.store.folders import entries
from kd_lightning.training.kept import cache_key as kept_key
from kd_lightning.training.measurements import warn_of
from kd_lightning.training.measuring import TestedNetwork
from tests.cli.test_configs import composed
from tests.conftest import Command

SMALL = (
    *("trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.accelerator=cpu"),
    *("callbacks.progress_bar=null", "teacher.model=digits_cnn_16", "scratch=false"),
)
CHAIN = ("plan=assistants", "plan.assistants=[digits_cnn_8,digits_cnn_4]", *SMALL)
ITSELF = "teacher.model=${student.model}"
LOGITS = ["student.logits", "teacher.logits"]


@pytest.fixture(autouse=True)
def _own_store(_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))


def summary(run: Path) -> Any:
    return json.loads((run / "summary.json").read_text())


def kept(store: Path) -> dict[str, Any]:
    records = (json.loads(file.read_text())["cache_key"] for file in store.glob("networks/*/record.json"))
    return {record["model"]: record for record in records}


def test_each_learns_from_the_one_before_and_is_found_again(command: Command, tmp_path: Path) -> None:
    first = command("kd-train", *CHAIN, "hydra.run.dir=first")
    assert first.code == 0, first.errors
    assert [*summary(tmp_path / "first")["plan"]["networks"]] == ["teacher", "assistant_1", "assistant_2", "student"]
    shown = [line for line in first.output.splitlines() if "←" in line]
    assert [re.search(r"(\S+) ← (\S+),", line).groups() for line in shown] == [  # type: ignore[union-attr]
        ("digits_cnn_8", "digits_cnn_16"),
        ("digits_cnn_4", "digits_cnn_8"),
    ]
    section = (tmp_path / "first" / "report.html").read_text().partition("Chain</h2>")[2][:4000]
    assert all(name in section for name in ("taught by", "assistant 1", "assistant 2", "over its teacher"))
    tested = command("kd-eval", "run=first")
    assert tested.code == 0, tested.errors
    again = command("kd-train", *CHAIN, "student.model=digits_cnn_8", "hydra.run.dir=again")
    assert again.output.count("found (") == 3, "the teacher and both assistants"
    other = command("kd-train", *CHAIN, "teacher.optimizer.lr=0.01", "hydra.run.dir=other")
    assert other.output.count("training (") == 3, "the whole chain stands on another teacher"


def test_where_it_is_dense_all_before_a_network_teach_it(command: Command, tmp_path: Path) -> None:
    done = command("kd-train", *CHAIN, "plan.dense=true", "hydra.run.dir=run")
    assert done.code == 0, done.errors
    keys = kept(tmp_path / "cache")
    assert [*keys["digits_cnn_8"]["sources"]] == ["teacher"]
    assert [*keys["digits_cnn_4"]["sources"]] == ["teacher", "assistant_1"]
    plain = command("kd-train", *CHAIN, "hydra.run.dir=plain")
    assert plain.output.count("found (") == 2, "teacher and first assistant are the same, the second is another"
    weights = [load_file(tmp_path / run / "student.safetensors")["fc.weight"] for run in ("run", "plain")]
    assert not torch.equal(*weights)
    assert command("kd-eval", "run=run").code == 0


@pytest.mark.parametrize("drop", [0, 1, 2])
def test_the_teachers_terms_are_summed_but_for_those_that_a_step_drops(drop: int) -> None:
    generator = torch.Generator().manual_seed(drop)
    names = ["teacher", "assistant_1", "assistant_2"]
    signals = {f"{name}.logits": torch.randn(6, 5, generator=generator) for name in ("student", *names)}
    term = OverTeachers.around(Term(SoftTarget(temperature=5), LOGITS), names)
    assert isinstance(term, OverTeachers)
    term.drop, term.seed = drop, 3
    single = {
        name: 25 * F.kl_div(
            F.log_softmax(signals["student.logits"] / 5, dim=1),
            F.softmax(signals[f"{name}.logits"] / 5, dim=1),
            reduction="batchmean",
        )
        for name in names
    }  # fmt: skip
    steps = [Progress(epoch=step / 7, fraction=step / 70) for step in range(60)]
    values = torch.stack([term(signals, progress) for progress in steps])
    possible = [sum(single.values()) - sum(single[name] for name in left) for left in combinations(names, drop)]
    distances = (values[:, None] - torch.stack([torch.as_tensor(value) for value in possible])).abs()
    assert float(distances.min(dim=1).values.max()) < 1e-5
    assert {int(place) for place in distances.argmin(dim=1)} == {*range(len(possible))}, "each is dropped at some time"
    again = torch.stack([term(signals, progress) for progress in steps])
    assert torch.equal(values, again), "what a step drops is decided by when it is"


class Called(TorchFunctionMode):
    """The names of torch's functions that are called within."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.__name__)
        return func(*args, **(kwargs or {}))


def test_a_step_draws_teachers_without_a_tensor_that_the_device_would_wait_for() -> None:
    """On a GPU a tensor made of Python's numbers is a blocking copy; those that are left out get a gradient, of 0."""
    names = ["teacher", "assistant_1", "assistant_2"]
    term = OverTeachers.around(Term(SoftTarget(), LOGITS), names)
    assert isinstance(term, OverTeachers)
    term.drop = 1
    values = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    with Called() as called:
        total = term.combined(values, Progress(epoch=0.5, fraction=0.1))
    assert {"stack", "sum"} <= called.names
    assert not {"tensor", "as_tensor", "new_tensor", "from_numpy", "to", "cuda", "item"} & called.names
    total.backward()
    assert values.grad is not None
    assert sorted(values.grad.tolist()) == [0, 1, 1]


def test_generations_begin_with_weights_of_their_own_and_are_measured_together(
    command: Command, tmp_path: Path
) -> None:
    options = ("plan=born_again", "plan.generations=2", ITSELF, *SMALL[:-2], "optimizer.lr=1e-9", "scratch=false")
    done = command("kd-train", *options, "hydra.run.dir=run")
    assert done.code == 0, done.errors
    found = summary(tmp_path / "run")
    assert [*found["plan"]["networks"]] == ["teacher", "generation_1", "student", "all_generations"]
    assert found["plan"]["result"] == "student"
    assert found["all_generations"]["params"] == 2 * found["student"]["params"]
    (first,) = [
        file
        for file in (tmp_path / "cache" / "networks").glob("*/weights.safetensors")
        if json.loads((file.parent / "record.json").read_text())["cache_key"].get("sources")
    ]
    weights = [load_file(file)["fc.weight"] for file in (first, tmp_path / "run" / "student.safetensors")]
    assert not torch.allclose(*weights, atol=1e-3), "they hardly learned: their random weights differ"
    assert command("kd-eval", "run=run").code == 0
    again = command("kd-train", *options, "hydra.run.dir=again")
    assert "all_generations measured before" in " ".join(again.output.split())
    listed = [one.description() for one in entries(tmp_path / "cache")]
    assert "test results of 2 x digits_cnn_4 on digits" in listed, listed


@pytest.mark.parametrize(
    "own",
    [
        ["plan=born_again", "plan.generations=2"],  # whose first generation has random weights of another seed
        ["teacher.cache=logits"],
        ["teacher.cache=logits", "teacher.cache_top_k=2"],
        ["teacher.batch_statistics=true"],
        ["teacher.weights=pretrained_here.safetensors", "teacher.normalization={mean: [0.1], std: [0.9]}"],
    ],
)
def test_what_is_learned_otherwise_is_not_found(own: list[str], command: Command, tmp_path: Path) -> None:
    """Whatever decides the numbers of an assistant names it: what it was taught by, how exactly, from which weights."""
    plain = ("plan=assistants", "plan.assistants=[digits_cnn_4]", *SMALL, "teacher.model=digits_cnn_8")
    first = command("kd-train", *plain, "hydra.run.dir=plain")
    assert first.code == 0, first.errors
    if any("pretrained_here" in one for one in own):
        (teacher,) = (
            file
            for file in (tmp_path / "cache" / "networks").glob("*/weights.safetensors")
            if json.loads((file.parent / "record.json").read_text())["cache_key"]["model"] == "digits_cnn_8"
        )
        shutil.copy(teacher, "pretrained_here.safetensors")
    kept = {file.parent.name for file in (tmp_path / "cache" / "networks").glob("*/record.json")}
    options = plain[2:] if own[0].startswith("plan") else plain
    other = command("kd-train", *options, *own, "hydra.run.dir=other")
    assert other.code == 0, other.errors
    found = {file.parent.name for file in (tmp_path / "cache" / "networks").glob("*/record.json")}
    assert len(found - kept) == 1, other.output


def test_features_that_are_taken_elsewhere_are_others() -> None:
    """Taps name what is learned from, where more than logits is."""

    def keys(*overrides: str) -> list[str]:
        experiment = check(composed(*SMALL, "teacher.model=digits_cnn_8", *overrides))
        experiment.data.setup()
        found = []

        def carry_out(step: Any) -> Trained:
            if isinstance(step, Training) and step.is_kept and step.sources:
                found.append(json.dumps(kept_key(step, experiment.parts.context), sort_keys=True, default=str))
            if isinstance(step, Training):
                return Trained(step.name, step.first.network, TestedNetwork(create_model("digits_cnn_4", 10, 1), {}))
            if isinstance(step, Mean):
                return Trained(step.name, step, None)
            return Trained(step.role, step, TestedNetwork(step.build(experiment.parts.context), {}))

        torch.manual_seed(0)
        follow(experiment.plan.steps(experiment.parts), carry_out)
        return found

    taps = "{stage1: layer1.0, stage2: layer2.0, stage3: layer3.0}"
    features = ("plan=born_again", "plan.generations=2", "loss=[ce,kd,attention]")
    logits = ("plan=born_again", "plan.generations=2")
    assert keys(*features) != keys(*features, f"student.taps={taps}")
    assert keys(*features) != keys(*features, f"teacher.taps={taps}")
    assert keys(*logits) == keys(*logits, f"student.taps={taps}")
    blocks = ("plan=blocks", "teacher.model=digits_cnn_16")
    other = "plan.projector={_target_: kd_lightning.projectors.ChannelConnector, _partial_: true}"
    assert keys(*blocks) != keys(*blocks, other)


def test_a_generation_that_is_rebuilt_is_another_one(command: Command, tmp_path: Path) -> None:
    """Around its teacher, or by a head of its own: what is kept tells what it was rebuilt by."""
    options = ("plan=born_again", "plan.generations=2", ITSELF, *SMALL[:-2], "scratch=false")
    bare = "student.adapt={_target_: kd_lightning.sources.bias_free_classifier, _partial_: true}"
    for name, own in (("plain", []), ("bare", [bare])):
        done = command("kd-train", *options, *own, f"hydra.run.dir={name}")
        assert done.code == 0, done.errors
        assert re.search(r"generation 1 +digits_cnn_4 ← digits_cnn_4, training", done.output)
    again = command("kd-train", *options, bare, "hydra.run.dir=again")
    assert re.search(r"generation 1 +digits_cnn_4 ← digits_cnn_4, found", again.output), again.errors


def test_whose_metrics_are_not_kept_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    warn_of(OSError(28, "full"), tmp_path, "all_generations")
    told = " ".join(capsys.readouterr().err.split())
    assert told.endswith("takes no more (full); the metrics of all generations are not kept")


def test_the_first_generation_learns_from_any_teacher(command: Command, tmp_path: Path) -> None:
    ensemble = ("teacher=ensemble", "teacher.models=[digits_cnn_4,digits_cnn_8]")
    done = command("kd-train", "plan=born_again", "plan.generations=1", *ensemble, *SMALL[:-2], "scratch=false")
    assert done.code == 0, done.errors
    listed = [one.description() for one in entries(tmp_path / "cache") if one.kind == "measurements"]
    assert listed == ["test results of digits_cnn_4 + digits_cnn_8 on digits"]


def test_the_student_alone_teaches_the_first_generation_where_there_is_no_teacher(
    command: Command, tmp_path: Path
) -> None:
    """As Tf-KD's self-training: kept first, and its student begins with random weights of another seed."""
    options = ("method=tf_kd", *SMALL[:4], "optimizer.lr=1e-9")
    done = command("kd-train", *options, "student.model=digits_cnn_4", "scratch=false", "hydra.run.dir=run")
    assert done.code == 0, done.errors
    assert re.search(r"student alone +digits_cnn_4, training", done.output)
    found = summary(tmp_path / "run")
    assert found["teacher"] is None
    assert [*found["plan"]["networks"]] == ["scratch", "student"]
    assert {name: term["weight"] for name, term in found["objective"].items()} == {"ce": 0.05, "kd": 0.475}
    assert found["objective"]["kd"]["temperature"] == 6
    (alone,) = (tmp_path / "cache" / "networks").glob("*/weights.safetensors")
    weights = [load_file(file)["fc.weight"] for file in (alone, tmp_path / "run" / "student.safetensors")]
    assert not torch.allclose(*weights, atol=1e-3), "they hardly learned: their random weights differ"
    assert command("kd-eval", "run=run").code == 0
    again = command("kd-train", *options, "student.model=digits_cnn_4", "hydra.run.dir=again")
    assert re.search(r"student alone +digits_cnn_4, found", again.output)
    assert summary(tmp_path / "again")["student"]["top1"] == found["student"]["top1"]
    features = ("loss=[ce,kd,attention]", "plan.generations=2", "student.model=digits_cnn_4", "hydra.run.dir=maps")
    assert command("kd-train", *options, *features).code == 0


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["plan=assistants"], "plan.assistants=null: give a list of models, such as"),
        (["plan=assistants", "plan.assistants=resnet20"], "plan.assistants=resnet20: must be a list"),
        (["plan=assistants", "plan.assistants=[digits_cnn_8]", "plan.drop=-1"], "plan.drop=-1: how many of its"),
        (["plan=assistants", "plan.assistants=[digits_cnn_9x]"], "plan.assistants.0=digits_cnn_9x: "),
        (["plan=assistants", "plan.assistants=[digits_cnn_8,7]"], "plan.assistants.1=7: must be the name of a model"),
        (
            ["plan=assistants", "plan.assistants=[digits_cnn_8]", "teacher=none", "loss=ce"],
            "plan=assistants: they stand between a teacher and the student",
        ),
        (["plan=assistants", "plan.assistants=[digits_cnn_8]", "method=ft"], "plan=assistants: each of its networks"),
        (
            ["plan=assistants", "plan.assistants=[digits_cnn_8]", "method=simkd"],
            "student.adapt: rebuilds the student alone, and the assistants",
        ),
        (["plan=born_again", "teacher=none", "loss=ce"], "plan=born_again: the first generation learns from a teacher"),
        (["plan=born_again", "plan.generations=0"], "plan.generations=0: give how many times"),
    ],
)
def test_what_cannot_be_is_one_line(overrides: list[str], told: str, command: Command) -> None:
    outcome = command("kd-train", *overrides, "trainer.max_epochs=1", "hydra.run.dir=run")
    assert outcome.code == 2
    (line,) = outcome.error_lines
    assert line.startswith(f"error: {told}"), line
    assert not (outcome.folder / "run").exists()
