"""Options stand before what is set or behind it; what a command does not read is refused."""

import pytest

from tests.conftest import Command


@pytest.mark.parametrize(
    ("name", "arguments", "shown"),
    [
        ("kd-train", ["loss=[ce,kd]", "--cfg", "job"], "temperature: 4.0"),
        ("kd-train", ["temperature=2", "-c", "job", "alpha=0.5", "--resolve"], "weight: 0.5"),
        ("kd-eval", ["run=x", "--cfg", "job"], "run: x"),
        ("kd-inspect", ["student.model=resnet8", "--cfg", "job"], "model: resnet8"),
        ("kd-report", ["outputs", "--help"], "usage: kd-report"),
        ("kd-cache", ["ls", "--dir", "somewhere"], "somewhere"),
        ("kd-cache", ["--dir", "somewhere", "ls"], "somewhere"),
        ("kd-cache", ["rm", "abc", "--help"], "usage: kd-cache rm"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_behind_what_is_set(name: str, arguments: list[str], shown: str, command: Command) -> None:
    outcome = command(name, *arguments)
    assert outcome.code == 0, outcome.errors
    assert shown in outcome.output


def test_a_sweep_is_asked_for_behind_its_values(command: Command) -> None:
    outcome = command("kd-train", "temperature=2,0", "-m")
    assert outcome.code == 2
    assert "temperature=0: must be a number above 0" in outcome.errors, "as one of the jobs of a sweep"


def test_a_report_takes_folders_on_both_sides_of_an_option(command: Command) -> None:
    outcome = command("kd-report", "one", "--format", "csv", "another")
    assert outcome.error_lines == ["error: one: no such folder; give a folder that kd-train printed, or a multirun's"]


@pytest.mark.parametrize(
    ("name", "override", "told"),
    [
        ("kd-eval", "loss=dkd", "loss=dkd: kd-eval chooses no loss; there are run, trust, checkpoint, data.root,"),
        ("kd-eval", "+data=cifar100", "+data=cifar100: kd-eval chooses no data; there are run,"),
        ("kd-eval", "data.batch_size=2", "data.batch_size=2: nothing reads this key; there are run, trust,"),
        ("kd-eval", "++student.model=resnet8", "student.model=resnet8: nothing reads this key; there are run,"),
        ("kd-inspect", "teacher=none", "teacher=none: kd-inspect chooses no teacher; there are num_classes,"),
        ("kd-inspect", "+student.weights=x", "student.weights=x: nothing reads this key; there are num_classes,"),
        ("kd-train", "method/imagenet=crd", "method/imagenet=crd: method=imagenet/crd chooses it"),
    ],
)
def test_what_a_command_does_not_read_is_refused(name: str, override: str, told: str, command: Command) -> None:
    given = {"kd-eval": ["run=x"], "kd-inspect": ["student.model=resnet8"], "kd-train": []}[name]
    outcome = command(name, *given, override)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert outcome.error_lines[0].startswith(f"error: {told}")


def test_an_option_of_the_trainer_that_a_test_decides_itself_is_refused(run_folder: object, command: Command) -> None:
    outcome = command("kd-eval", f"run={run_folder}", "+trainer.devices=2")
    assert outcome.code == 2
    assert outcome.error_lines == [
        "error: trainer.devices=2: a test runs on one device and writes nothing; leave it away"
    ]
