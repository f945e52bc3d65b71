"""A run whose teacher is the mean of several networks by name: trained once each, kept, measured as one, resumed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.experiment.checks.config import check
from kd_lightning.experiment.folder.introduction import introduce
from kd_lightning.models import create_model, load_weights, normalize_inputs
from tests.cli.test_configs import composed
from tests.conftest import Command

ENSEMBLE = ("teacher=ensemble", "teacher.models=[digits_cnn_4,digits_cnn_8,digits_cnn_4]")
SHORT = ("scratch=false", "trainer.max_epochs=2", "data.train_samples=128", "callbacks.progress_bar=null")


@pytest.fixture(autouse=True)
def cache(_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def summary(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "summary.json").read_text())
    return found


def records(cache: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text())["cache_key"] for file in cache.glob("networks/*/record.json")]


def mean_logits(cache: Path, images: Tensor) -> Tensor:
    """What the networks in the store say on the mean."""
    each = []
    for file in cache.glob("networks/*/weights.safetensors"):
        name = json.loads((file.parent / "record.json").read_text())["cache_key"]["model"]
        network = create_model(name, 10, 1)
        load_weights(network, file)
        mean, std = json.loads((file.parent / "record.json").read_text())["cache_key"]["statistics"].values()
        each.append(normalize_inputs(network.eval(), mean, std)(images))
    with torch.no_grad():
        return torch.stack(each).mean(dim=0)


def test_it_is_trained_once_measured_as_one_and_tested_again(command: Command, cache: Path) -> None:
    outcome = command("kd-train", *SHORT, *ENSEMBLE, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    kept = records(cache)
    assert sorted((one["model"], one["seed"]) for one in kept) == [
        ("digits_cnn_4", 0),
        ("digits_cnn_4", 1),
        ("digits_cnn_8", 0),
    ]
    assert all(one["data"] == kept[0]["data"] and one["batches"] == kept[0]["batches"] for one in kept)
    teacher = summary("run")["teacher"]
    sizes = [sum(p.numel() for p in create_model(f"digits_cnn_{n}", 10, 1).parameters()) for n in (4, 8, 4)]
    assert teacher["model"] == "digits_cnn_4 + digits_cnn_8 + digits_cnn_4"
    assert teacher["params"] == sum(sizes)
    each = [summary("run")[f"teacher_{place}"] for place in range(3)]
    assert [one["params"] for one in each] == sizes
    assert [one["model"] for one in each] == ["digits_cnn_4", "digits_cnn_8", "digits_cnn_4"]
    kept_top1 = sorted(json.loads(file.read_text())["test"]["top1"] for file in cache.glob("networks/*/record.json"))
    assert sorted(one["top1"] for one in each) == kept_top1
    networks = summary("run")["plan"]["networks"]
    assert [(one["title"], one["role"]) for one in networks.values()] == [
        *((f"teacher {place}", "member") for place in range(3)),
        ("teacher", "teacher"),
        ("distilled student", "student"),
    ]
    page = Path("run/report.html").read_text()
    assert "teacher 2" in page
    assert "agrees with it on" in page
    data = check(composed(*ENSEMBLE, *SHORT)).data
    data.setup()
    test = data.test_set
    images = test.images.read(test.rows, torch.zeros_like(test.rows)).float() / 255
    right = (mean_logits(cache, images).argmax(dim=1) == test.targets).double().mean()
    assert teacher["top1"] == pytest.approx(float(right), abs=2 / len(images))
    again = command("kd-train", *SHORT, "teacher.model=digits_cnn_8", "temperature=2", "hydra.run.dir=alone")
    assert "digits_cnn_8, found" in again.output
    evaluated = command("kd-eval", "run=run")
    rows = [line.split()[-2:] for line in evaluated.output.splitlines() if line.strip().startswith(("top-1", "agree"))]
    assert len(rows) == 2
    assert all(now == before for now, before in rows)


def test_the_answers_of_a_network_are_the_same_alone_and_in_an_ensemble(command: Command, cache: Path) -> None:
    def run(*teacher: str) -> dict[str, int]:
        outcome = command("kd-train", *SHORT, "teacher.cache=logits", *teacher, "data.val_fraction=0")
        assert outcome.code == 0, outcome.errors
        return {file.parent.name: file.stat().st_mtime_ns for file in cache.glob("answers/*/answers.bin")}

    alone = run("teacher.model=digits_cnn_8")
    together = run(*ENSEMBLE[:1], "teacher.models=[digits_cnn_4,digits_cnn_8]", "temperature=2")
    assert len(alone) == 1
    assert len(together) == 2
    assert together.items() >= alone.items(), "what one has answered is not written again"
    assert run("teacher.model=digits_cnn_4", "temperature=3") == together
    run(*ENSEMBLE[:1], "teacher.models=[digits_cnn_4,digits_cnn_4]", "temperature=4")
    verified = command("kd-cache", "verify")
    assert verified.code == 0, verified.output
    assert verified.output.count("answers computed again") == 3


def test_a_member_that_comes_later_costs_itself_alone(command: Command, cache: Path) -> None:
    def run(models: str) -> tuple[str, dict[str, int], set[str]]:
        outcome = command("kd-train", *SHORT, "teacher=ensemble", f"teacher.models={models}", "teacher.cache=logits")
        assert outcome.code == 0, outcome.errors
        answers = {file.parent.name: file.stat().st_mtime_ns for file in cache.glob("answers/*/answers.bin")}
        return outcome.output, answers, {file.parent.name for file in cache.glob("networks/*/record.json")}

    _, before, trained = run("[digits_cnn_4,{model: digits_cnn_8, normalization: {mean: [0.5], std: [0.5]}}]")
    output, after, all_trained = run(
        "[digits_cnn_4,{model: digits_cnn_8, normalization: {mean: [0.5], std: [0.5]}},"
        "{model: digits_cnn_8, image_size: 12}]"
    )
    assert len(before) == len(trained) == 2
    assert len(after) == len(all_trained) == 3
    assert after.items() >= before.items(), "nobody else is asked again"
    assert all_trained > trained
    assert output.count(", found (") == 2
    assert output.count(", training (") == 1
    kept = {(one["model"], one.get("image_size"), one["seed"]) for one in records(cache)}
    assert kept == {("digits_cnn_4", None, 0), ("digits_cnn_8", None, 0), ("digits_cnn_8", 12, 0)}


def test_a_member_has_weights_and_taps_of_its_own(command: Command, tmp_path: Path) -> None:
    torch.manual_seed(5)
    torch.save(create_model("digits_cnn_8", 10, 1).state_dict(), tmp_path / "own.pt")
    models = "[{model: digits_cnn_4, taps: {early: layer1}},{model: digits_cnn_8, weights: own.pt}]"
    terms = ("loss=[ce,kd,attention]", "loss.attention.signals=[[student.stage1],[teacher.0.early]]")
    options = ("teacher=ensemble", f"teacher.models={models}", "trainer.max_epochs=1", "trainer.limit_train_batches=2")
    outcome = command("kd-train", *SHORT, *options, *terms, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    assert "weights: own.pt" in outcome.output
    assert summary("run")["teacher"]["model"] == "digits_cnn_4 + digits_cnn_8"


def test_all_answers_can_be_asked_beforehand(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = (*SHORT, *ENSEMBLE, "teacher.weights=null", "test=false")
    outcome = command("kd-train", *options, "teacher.cache=prefill", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    assert outcome.output.count("answering") == 2 * 3, "two epochs of three networks"
    assert command("kd-cache", "verify").code == 0
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "another"))
    plain = command("kd-train", *options, "teacher.cache=logits", "hydra.run.dir=plain")
    assert plain.code == 0, plain.errors
    same(load_file("run/student.safetensors"), load_file("plain/student.safetensors"))


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_that_was_stopped_goes_on_as_it_would_have(command: Command, tmp_path: Path) -> None:
    taps = ("loss=[ce,kd,attention]", "loss.attention.signals=[student.stages,teacher.1.stages]")
    run = ("kd-train", *SHORT, *ENSEMBLE, *taps, "teacher.weights=null")
    whole = command(*run, "hydra.run.dir=whole")
    assert whole.code == 0, whole.errors
    with pytest.raises(OSError, match="no power"):
        command(*run, "hydra.run.dir=cut", "+callbacks.power_cut={_target_: tests.runs.test_resume.PowerCut}")
    assert command(*run, "hydra.run.dir=cut").code == 0
    same(load_file("whole/student.safetensors"), load_file("cut/student.safetensors"))
    names = ("top1", "nll", "ece")
    assert [summary("whole")["teacher"][name] for name in names] == [summary("cut")["teacher"][name] for name in names]
    state = torch.load("cut/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert not [name for name in state if name.startswith("teacher")], "what is frozen is in no checkpoint"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["teacher.models=resnet20"], "teacher.models=resnet20: give a list of models"),
        (["teacher.models=[]"], r"teacher.models=\[\]: give a list of models"),
        (["teacher.models=[digits_cnn_4,resnet2]"], "teacher.models.1=resnet2: "),
        (["teacher.weights=[train]"], r"teacher.weights=\['train'\]: there are 2 models"),
        (["teacher.weights=nowhere.pt"], "teacher.weights=nowhere.pt: no such file"),
        (["teacher.weights=pretrained"], "teacher.weights=pretrained: digits_cnn_32 has no published weights"),
        (["teacher.taps={stage1: conv}"], "teacher.taps.stage1: name the network in front, such as 0.stage1"),
        (["teacher.taps={0.stage1: nowhere}"], "teacher_taps.stage1=nowhere"),
        (
            ["teacher.models=[timm/resnet18,timm/resnet18]", "teacher.weights=pretrained"],
            "teacher.models.1=timm/resnet18: is the same network as teacher.models.0",
        ),
        (["loss=[ce,kd,attention]", "loss.attention.signals=[student.stages,teacher.2.stages]"], "teacher.2.stages"),
        (["loss=[ce,kd,attention]"], "teacher.stages: the teacher has no such tap; did you mean teacher"),
        (
            [
                "loss=[ce,kd,attention]",
                "loss.attention.signals=[student.stages,teacher.0.stages]",
                "teacher.cache=logits",
            ],
            "teacher.cache=logits: keeps logits, and a term takes teacher.0.stage1",
        ),
        (["teacher.models=[{weights: w.pt}]"], r"teacher.models.0=\{'weights': 'w.pt'\}: names no model; give"),
        (
            ["teacher.models=[digits_cnn_4,{model: digits_cnn_8, wieghts: x}]"],
            "teacher.models.1.wieghts=x: no key of one of several; did you mean weights",
        ),
        (["teacher.models=[{model: resnet2, stem: small}]"], "teacher.models.0.model=resnet2: "),
        (["teacher.models=[{model: digits_cnn_4, weights: x.pt}]"], "teacher.models.0.weights=x.pt: no such file"),
        (["teacher.models=[{model: digits_cnn_4, image_size: 0}]"], "teacher.models.0.image_size=0: the pixels of"),
        (["teacher.models=[{model: digits_cnn_4, taps: 3}]"], "teacher.models.0.taps=3: give auto, or a mapping"),
        (
            ["teacher.models=[{model: digits_cnn_4, normalization: 3}]"],
            "teacher.models.0.normalization=3: give auto, or",
        ),
        (["teacher.combine=mean_logit"], "teacher.combine=mean_logit: did you mean mean_logits"),
        (["teacher.combine=[1,2,3]"], r"teacher.combine=\[1, 2, 3\]: there are 2 members; give as many numbers"),
        (["teacher.combine=gradient", "teacher.tolerance=0"], "teacher.tolerance=0: must be a finite number above 0"),
        (["teacher.combine=entropy", "loss=[ce,sp]"], "sp: teacher.combine=entropy: weighs each sample, and"),
        (["teacher.combine=entropy", "task=regression", "loss=[mse]"], "teacher.combine=entropy: is of probabilities"),
        (
            ["teacher.combine=entropy", "plan=assistants", "plan.assistants=[digits_cnn_8]", "plan.dense=true"],
            "plan.dense=true: sums a term over all that teach",
        ),
        (
            ["experiment=cifar100/resnet56_resnet20", "data=digits"],
            r"teacher.model=resnet56: .* where another config names it, ~teacher.model leaves it out",
        ),
        (["method=simkd"], "student.adapt=ReusedClassifier: rebuilds the student around one network"),
    ],
)
def test_what_is_no_ensemble_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check(composed("teacher=ensemble", *overrides))


def test_a_loss_of_several_teachers_asks_for_them() -> None:
    with pytest.raises(UserError, match=r"ca_mkd: signals: weighs several teachers .*; choose teacher=ensemble"):
        check(composed("loss=[ce,ca_mkd]"))


def test_members_weigh_in_every_term_that_takes_the_ensemble(command: Command) -> None:
    terms = ("loss=[ce,kd,attention]", "loss.attention.signals=[student.stages,teacher.stages]")
    given = ("teacher=ensemble", "teacher.models=[digits_cnn_4,digits_cnn_8]", "trainer.max_epochs=1", *terms)
    outcome = command("kd-train", *SHORT, *given, "teacher.combine=gradient", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    resumed = command(
        "kd-train", *SHORT, *given, "teacher.combine=entropy", "hydra.run.dir=run", "trainer.max_epochs=2"
    )
    assert {term: one.get("members") for term, one in summary("run")["objective"].items()} == {
        "ce": None,
        "kd": "gradient",
        "attention": "gradient",
    }
    assert resumed.code == 2, "another combination is another teacher"


def test_values_by_pair_are_not_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    for teacher, told in (("teacher=ensemble", True), ("teacher=default", False)):
        introduce(check(composed("method=mlkd", teacher)))
        assert ("values by pair of networks are of one teacher" in capsys.readouterr().out) == told


def test_files_of_equal_networks_are_one(command: Command, tmp_path: Path) -> None:
    for name in ("one.pt", "other.pt"):
        torch.manual_seed(0)
        torch.save(create_model("digits_cnn_4", 10, 1).state_dict(), tmp_path / name)
    files = ("teacher.models=[digits_cnn_4,digits_cnn_4]", "teacher.weights=[one.pt,other.pt]")
    (line,) = command("kd-train", *SHORT, "teacher=ensemble", *files).error_lines
    assert line.startswith("error: teacher.weights: models.0 and models.1 have the same weights")
