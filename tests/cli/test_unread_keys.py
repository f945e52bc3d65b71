"""A key that nothing reads is refused, with what may have been meant; a user's own stand under `extra`."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kd_lightning.config.conf import conf_dir
from kd_lightning.config.packaged import groups, values_at
from kd_lightning.config.references import absolute, keys_in, references
from tests.conftest import Command
from tests.sweeps.test_sweep import FOLDER


def refusal(command: Command, name: str, *arguments: str) -> str:
    outcome = command(name, *arguments)
    assert outcome.code == 2, outcome.output
    [line] = outcome.error_lines
    assert "Traceback" not in outcome.errors
    assert not [path for path in outcome.folder.iterdir() if path.name != "own"]
    return line


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("temprature=1", "temprature=1: nothing reads this key; did you mean temperature?"),
        ("+temprature=1", "did you mean temperature?"),
        ("++temprature=1", "did you mean temperature?"),
        (
            "+mixup=0.2",
            "mixup=0.2: nothing reads this key; did you mean data.mixup? A key of your own goes under extra, as "
            "extra.mixup",
        ),
        ("student.modle=resnet8", "did you mean model?"),
        ("+teacher.cahce=logits", "did you mean cache?"),
        ("++paths.cachedir=here", "did you mean paths.cache_dir?"),
        ("lr=0.1", "lr=0.1: nothing reads this key; did you mean optimizer.lr?"),
        ("+los.kd.weight=1", "did you mean loss.kd.weight?"),
        ("+optimzer=sgd", "did you mean optimizer?"),
        ("experment=cifar100/resnet32x4_resnet8x4", "did you mean experiment?"),
        ("++callbacks.progres_bar.leave=true", "did you mean callbacks.progress_bar.leave?"),
        ("++initialization.epoch=1", "did you mean initialization.epochs?"),
        ("pairs.a_b.lr=1", "pairs.a_b.lr=1: nothing reads this key"),
    ],
)
def test_it_is_refused_with_what_is_close(command: Command, typed: str, told: str) -> None:
    assert told in refusal(command, "kd-train", typed)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["loss.kd.wieght=1"],
            "loss.kd.wieght=1: kd_lightning.objective.Term has no such argument; did you mean weight?",
        ),
        (["+trainer.foo=1"], "trainer.foo=1: lightning.Trainer has no such argument"),
        (["trainer.foo=1"], "trainer.foo=1: lightning.Trainer has no such argument"),
        (["data.batchsize=3"], "did you mean batch_size?"),
        (["+student.optimizer.lrr=1"], "student.optimizer.lrr=1: torch.optim.SGD has no such argument"),
        (["loss.dkd.weight=1"], "loss.dkd.weight=1: this run has no loss.dkd; choose loss=dkd besides"),
        (["callbacks.progres_bar=null"], "did you mean callbacks.progress_bar?"),
        (["~temprature"], "~temprature: this run has no temprature; did you mean temperature?"),
        (["student={model: resnet8, foo: 1}"], "student.foo=1: kd_lightning"),
        (["trainer.detect_anomaly=true"], "is not in the config yet; +trainer.detect_anomaly=true adds it"),
        (["method=dkd", "loss.dkd.loss.beta=2", "+pairs.a_b.beta=3"], "nothing reads this key"),
        (["+optimizer=adamw"], "+optimizer=adamw: optimizer has a value already; optimizer=adamw chooses another one"),
        (["student.normalization={mean: [0.5], std: [0.5], scale: 2}"], "give auto, or {mean: […], std: […]}"),
        (["seed=1", "+method.loss=1"], "method chooses a config by its name"),
    ],
)
def test_arguments_and_parts_that_are_not_there_are_told(command: Command, arguments: list[str], told: str) -> None:
    assert told in refusal(command, "kd-train", *arguments)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["temprature=1,2"], "temprature=1,2: nothing reads this key; did you mean temperature?"),
        (["+foo=1,2"], "foo=1,2: nothing reads this key"),
        (["+foo=1", "seed=0,1"], "foo=1: nothing reads this key"),
        (["optimzer=sgd,adamw"], "did you mean optimizer?"),
        (["method=kd,dkd", "student.modle=resnet8"], "did you mean model?"),
        (
            ["+trainer.max_epoch=1,2"],
            "trainer.max_epoch=1,2: lightning.Trainer has no such argument; did you mean max_epochs?",
        ),
        (["hparams_search=optuna", "+foo=interval(0,1)"], "foo=interval(0,1): nothing reads this key"),
        (["hparams_search=optuna", "loss.kd.wieght=interval(0,1)"], "did you mean weight?"),
    ],
)
def test_before_the_first_job_of_a_sweep(command: Command, arguments: list[str], told: str) -> None:
    assert told in refusal(command, "kd-train", "-m", *arguments, FOLDER)


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("kd-eval", ["run=x", "+checkpont=last"], "did you mean checkpoint?"),
        ("kd-eval", ["run=x", "data.batch_size=2"], "data.batch_size=2: nothing reads this key"),
        (
            "kd-eval",
            ["run=x", "+trainer.limit_tests=2"],
            "trainer.limit_tests=2: lightning.Trainer has no such argument",
        ),
        ("kd-inspect", ["student.model=resnet8", "+student.foo=2"], "student.foo=2: nothing reads this key"),
        ("kd-inspect", ["student.model=resnet8", "teachr.model=resnet8"], "did you mean teacher.model?"),
    ],
)
def test_in_other_commands(command: Command, name: str, arguments: list[str], told: str) -> None:
    assert told in refusal(command, name, *arguments)


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


@pytest.mark.parametrize(
    ("file", "text", "chosen", "told"),
    [
        ("experiment/mine", "# @package _global_\ntemprature: 2\n", "experiment=mine", "temprature=2: nothing reads"),
        (
            "experiment/mine",
            "# @package _global_\nteacher: {wieghts: null}\n",
            "experiment=mine",
            "did you mean weights?",
        ),
        ("student/mine", "defaults: [default]\nwidth: 3\n", "student=mine", "student.width=3: kd_lightning"),
        ("method/mine", "loss: {kd: {weight: 1}}\n", "method=mine", "method.loss.kd.weight=1: nothing reads this key"),
    ],
)
def test_in_a_users_own_config(command: Command, file: str, text: str, chosen: str, told: str) -> None:
    write(f"own/{file}.yaml", text)
    assert told in refusal(command, "kd-train", "--config-dir", "own", chosen)


SHOWN = ("--cfg", "job", "--resolve")


@pytest.mark.parametrize(
    "arguments",
    [
        ["extra.width=8"],
        ["+extra.width=8"],
        ["++extra.width=8"],
        ["extra={width: 8}"],
        ["experiment=mine"],
        ["experiment=mine", "+extra.width=8"],
        ["experiment=root"],  # a key of one's own that other values refer to
    ],
)
def test_a_users_own_keys_stand_under_extra(command: Command, arguments: list[str]) -> None:
    write("own/experiment/mine.yaml", "# @package _global_\nextra: {width: 8, unread: [1, {a: 2}]}\n")
    write("own/experiment/root.yaml", "# @package _global_\nextra: {width: '${wide.as}'}\nwide: {as: 8}\n")
    model = "student.model=digits_cnn_${extra.width}"
    shown = command("kd-train", "--config-dir", "own", *arguments, model, *SHOWN, "paths.output_dir=x")
    assert shown.code == 0, shown.errors
    assert OmegaConf.create(shown.output).student.model == "digits_cnn_8"


@pytest.mark.parametrize(
    "arguments",
    [
        ["+trainer.detect_anomaly=true", "+student.optimizer={lr: 0.1}", "+student.trainer.max_epochs=3"],
        ["+callbacks.mine={_target_: own.Mine, anything: 1}", "++loss.dkd=null", "~scheduler"],
        ["+note=tag", "hydra.job.name=${note}"],
        ["+table={small: 4}", "+size=small", "student.model='digits_cnn_${table.${size}}'"],
        ["+width=4", "student.model=digits_cnn_${oc.select:width,8}"],
        ["method=mlkd", "+pairs.mine_yours={lr: 0.5}"],
        ["method=dkd", "loss.dkd.loss.beta=2"],  # which alone would read the method's pairs
        ["method=ab", "initialization.epochs=1", "initialization.loss.ab.projector=null"],
        ["teacher=moving_average", "teacher.decay=0.9"],
        ["student.model={_target_: own.Net, _partial_: true, depth: {any: thing}}", "student.taps={mine: layer1}"],
        ["temperature={_target_: kd_lightning.schedules.Linear, start: 8, end: 1}"],
        ["+data.sampler={_target_: own.Sampler, _convert_: all, _recursive_: false}"],
    ],
)
def test_what_something_reads_is_taken(command: Command, arguments: list[str]) -> None:
    shown = command("kd-train", *arguments, "--cfg", "job")
    assert shown.code == 0, shown.errors


def test_a_key_that_a_sweep_refers_to_is_taken(command: Command) -> None:
    outcome = command("kd-train", "-m", "+place=nowhere", "teacher.weights='${place}/a','${place}/b'", FOLDER)
    assert "teacher.weights=nowhere/a: no such file" in outcome.error_lines[0]


def test_references_are_found_as_they_are_written() -> None:
    assert list(keys_in("a/${b.c[d]}-${oc.select:x.y,3}${times:2,${..z}}")) == ["b.c[d]", "x.y", "..z"]
    assert list(keys_in("${table.${size}}")) == ["table.", "size"]
    assert list(keys_in(r"\${no} ${oc.env:HOME} ${hydra:runtime.cwd}")) == []
    assert absolute(".b", ("a", "c")) == ("a", "b")
    assert absolute("..b[d]", ("a", "0", "c")) == ("a", "b", "d")
    assert list(references({"a": [{"b": "${..c}"}]})) == [(("a", "0", "b"), ("a", "c"))]


def test_what_packaged_configs_set_is_found_wherever_it_stands() -> None:
    student = [value for value in values_at(("student",), "train") if isinstance(value, dict)]
    assert any("adapt" in value and isinstance(value["adapt"], dict) for value in student)  # of method=simkd
    assert {"data", "loss", "method", "student"} <= groups()
    assert "extra" in OmegaConf.load(conf_dir() / "train.yaml")
