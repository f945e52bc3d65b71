"""--help reads the config files alone: it explains the command, and what is named behind it."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kd_lightning
from kd_lightning.config.comments import Comments
from kd_lightning.config.conf import conf_dir, options
from kd_lightning.config.files import ConfigFiles
from kd_lightning.config.help import MADE, shared_comment
from kd_lightning.config.lines import links, paragraphs
from tests.conftest import Command

FILES = ConfigFiles([conf_dir()])
OF_PAPERS = ("method", "experiment", "recipe", "debug")  # whose headers tell of their values
BY_DEFAULT = ("train", "data/digits", "student/default", "trainer/default", "loss/kd", "paths/default")


def words(text: str) -> str:
    """A text on one line."""
    return " ".join(text.split())


def test_each_key_has_the_comment_beside_it(command: Command) -> None:
    shown = command("kd-train", "--help")
    assert shown.code == 0, shown.errors
    for file in BY_DEFAULT:
        for entry in Comments(conf_dir() / f"{file}.yaml").entries():
            place = "" if "/" not in file else f"{Path(file).parent}."
            if entry.beside:
                value = entry.value.replace('"', "")
                key = f"{place}{'.'.join(entry.path)}" + (f"={value}" if value else "")
                assert f"{key} {words(entry.beside)}" in words(shown.output)
    assert "student=default: The network to train." in shown.output
    assert "loss=kd: Soft targets (Hinton, Vinyals, Dean 2015, arXiv:1503.02531)." in shown.output
    assert max(map(len, shown.output.splitlines())) <= 100
    assert shown.output.endswith("composes the config\n")


@pytest.mark.parametrize("group", ["", *(name for name in FILES.groups if name not in OF_PAPERS)])
def test_every_key_is_explained(group: str) -> None:
    for name in (
        [f"{group}/{value}" for value in FILES.groups[group]]
        if group
        else ["train", "eval", "inspect", "export", "predict"]
    ):
        keys = FILES.keys(name)
        for path, key in keys.items():
            is_told = key.above or key.beside or shared_comment(keys, path)
            assert is_told or not key.value or path[-1] in MADE, f"{name}: {'.'.join(path)} has no comment"


def test_it_shows_the_values_of_each_group(command: Command) -> None:
    shown = words(command("kd-train", "--help").output)
    for group in ("data", "loss", "optimizer", "experiment"):
        plain = [name for name in options(group) if "/" not in name]
        nested = [name for name in options(group) if "/" in name]
        assert ", ".join([*plain, *nested]) in shown
    assert "method=null a published method: its terms and weights ab, aekd, attention," in shown


def test_a_group_shows_its_values(command: Command) -> None:
    shown = command("kd-train", "--help", "loss").output
    for name in options("loss"):
        [first, *_] = Comments(conf_dir() / "loss" / f"{name}.yaml").header
        assert f"{name} {words(first)[:40]}" in words(shown)
    assert "loss.ce.loss.label_smoothing=0.0" in shown
    assert "loss.dkd" not in shown
    assert "crd" in command("kd-train", "--help", "method/imagenet").output


def test_a_value_is_explained_by_itself(command: Command) -> None:
    shown = command("kd-train", "loss=dkd", "--help")
    assert shown.code == 0
    assert shown.output.startswith("loss=dkd\n\n  Decoupled distillation (Zhao et al. 2022, arXiv:2203.08679).\n")
    assert "  https://arxiv.org/abs/2203.08679\n" in shown.output
    assert "  loss.dkd.loss.alpha=1.0         of the label's class against the rest\n" in shown.output
    assert "loss.dkd.loss._target_=kd_lightning.losses.DKD" in shown.output
    assert "loss.kd" not in shown.output
    several = command("kd-train", "--help", "loss=[ce,crd]").output
    assert "Cross-entropy" in several
    assert "Contrastive" in several


def test_a_method_says_what_it_chooses(command: Command) -> None:
    shown = command("kd-train", "--help", "method=imagenet/dkd").output
    assert "Chooses loss=[ce,dkd]" in shown
    assert "beta by pair" in command("kd-train", "--help", "method=dkd").output
    recipe = command("kd-train", "--help", "recipe=cifar100").output
    assert "\n    kd-train -m experiment=cifar100/resnet32x4_resnet8x4 method=dkd seed=0,1,2\n" in recipe, "as a line"


def test_what_another_value_brings_is_told_where_it_is_explained(command: Command) -> None:
    shown = words(command("kd-train", "--help", "scheduler=warmup_cosine").output)
    assert "scheduler.warmup=0.05 the share of the training in which it rises from 0" in shown, "told in cosine.yaml"
    assert "augment.padding=4" in command("kd-train", "--help", "data=cifar10").output


def test_a_key_is_told_with_what_others_have_there(command: Command) -> None:
    shown = words(command("kd-train", "--help", "optimizer.lr").output)
    assert shown.startswith("optimizer.lr, of optimizer=sgd optimizer.lr=0.05")
    assert "optimizer=adamw 1.0e-3" in shown
    assert "recipe=imagenet 0.2" in shown
    shared = command("kd-train", "--help", "teacher.scheduler").output
    assert "What differs from the groups" in shared, "said above several keys"
    assert "data=imagenet 0.02;" in words(command("kd-train", "--help", "data.val_fraction").output)
    mixup = command("kd-train", "--help", "data.mixup").output
    assert "method=funmatch" in mixup
    assert "data=cifar100" not in mixup, "which has the same there"
    assert "data.augment.padding=1" in command("kd-train", "--help", "data.augment").output
    assert command("kd-train", "--help", "temperature=2").output.startswith("temperature\n\n")


@pytest.mark.parametrize(
    ("topic", "told"),
    [
        ("temprature=1", "temprature: no such key or group; did you mean temperature?"),
        ("loss=dkx", "loss=dkx: no such config; did you mean dkd?"),
        ("method/nowhere", "method/nowhere: no such group"),
        ("trainer.benchmark", "+trainer.benchmark=VALUE adds it where it is an argument of lightning.Trainer"),
        ("--config-dir=nowhere", "--config-dir nowhere: no such folder"),
        ("--config-name=nowhere", "--config-name nowhere: no such config"),
    ],
)
def test_what_there_is_none_of_is_refused(topic: str, told: str, command: Command) -> None:
    shown = command("kd-train", "--help", topic)
    assert shown.code == 2
    assert len(shown.error_lines) == 1
    assert told in shown.error_lines[0]


def test_a_users_own_values_are_among_them(command: Command) -> None:
    Path("own/optimizer").mkdir(parents=True)
    Path("own/optimizer/slow.yaml").write_text("# As sgd, slower.\ndefaults: [sgd, _self_]\nlr: 0.001 # not more\n")
    Path("elsewhere/scheduler").mkdir(parents=True)
    Path("elsewhere/scheduler/odd.yaml").write_text("# Odd.\ndefaults: [step, _self_]\n")
    Path("own/mine.yaml").write_text(
        "# Mine.\ndefaults: [train, override optimizer: slow, _self_]\nseed: 3\n"
        "hydra:\n  searchpath: [file://elsewhere]\n"
    )
    shown = command("kd-train", "--config-dir", "own", "optimizer=slow", "--help").output
    assert "As sgd, slower." in shown
    assert "optimizer.lr=0.001              not more" in shown
    assert "optimizer.fused=true            one kernel for all parameters" in shown
    assert "slow" in command("kd-train", "hydra.searchpath=[file://own]", "--help", "optimizer").output
    root = command("kd-train", "--config-dir", "own", "--config-name=mine", "--help").output
    assert root.startswith("Mine.\n")
    assert "odd, step" in root
    assert "optimizer=slow: As sgd, slower." in root
    assert "seed=3                          governs" in root


@pytest.mark.parametrize("name", ["eval", "inspect", "export", "predict"])
def test_other_commands_list_only_what_they_read(command: Command, name: str) -> None:
    shown = command(f"kd-{name}", "--help")
    assert shown.code == 0
    keys = [entry for entry in Comments(conf_dir() / f"{name}.yaml").entries() if entry.value]
    lines = shown.output.partition("Options")[0].splitlines()
    listed = [line for line in lines if re.match(r"  \S+=", line)]
    assert [line.split()[0] for line in listed] == [f"{'.'.join(key.path)}={key.value}" for key in keys]
    assert all(words(key.beside) in words(shown.output) for key in keys)
    assert "GROUP" not in shown.output
    assert command(f"kd-{name}", "--help", "loss").code == 2


def test_paragraphs_are_filled_and_commands_stay_as_they_are() -> None:
    header = ["One two", "three.", "", "  a   b", "Four (Hinton 2015, doi:10.1109/18.61115). See arXiv:1503.02531."]
    text = [*paragraphs(header, 20)]
    assert text[:4] == ["  One two three.", "", "    a   b", "  Four (Hinton 2015,"]
    assert links(header) == ["https://arxiv.org/abs/1503.02531", "https://doi.org/10.1109/18.61115"]


@pytest.mark.parametrize("name", ["kd-train", "kd-eval", "kd-report", "kd-cache"])
def test_the_version_is_the_packages(name: str, command: Command) -> None:
    assert command(name, "--version").output == f"KD Lightning {kd_lightning.__version__}\n"


def in_a_terminal(*arguments: str, lines: int, **environment: str) -> str:
    """What kd-train shows in a terminal of so many lines."""
    main, other = pty.openpty()
    command = [sys.executable, "-m", "kd_lightning.commands.train", *arguments]
    given = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": str(lines), **environment}
    with subprocess.Popen(command, stdin=other, stdout=other, stderr=other, env=given) as process:
        os.close(other)
        text = b""
        while True:
            try:
                read = os.read(main, 4096)
            except OSError:  # how Linux says that nobody writes any more
                break
            if not read:
                break
            text += read
        process.wait()
    os.close(main)
    return text.decode()


def test_what_is_longer_than_the_terminal_goes_to_the_pager(tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho paged\ncat\n")
    pager.chmod(0o755)
    short = in_a_terminal("--help", "seed", lines=40, PAGER=str(pager))
    assert "paged" not in short
    long = in_a_terminal("--help", lines=40, PAGER=str(pager))
    assert long.startswith("paged")
    assert "loss=kd: Soft targets" in long
    assert max(map(len, long.splitlines())) <= 80
    assert "Soft targets" in in_a_terminal("--help", lines=40, PAGER="no-such-pager"), "printed where there is none"


def test_a_comment_goes_on_below_its_own_sign(tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text(
        "# Header.\na: 1  # one\n      # two\n# Of b.\nb: x#y # three\n"
        "# Of c.\nc:\n  # Of d.\n  d: 2 # four\n       # five\n"
    )
    told = {".".join(key.path): (key.above, key.beside) for key in Comments(file).entries()}
    assert told == {
        "a": ("", "one two"),
        "b": ("Of b.", "three"),
        "c": ("Of c.", ""),
        "c.d": ("Of d.", "four five"),
    }
