"""The README's code runs, and its command lines compose: it cannot go stale."""

import itertools
import re
import shlex
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kd_lightning.commands import report
from kd_lightning.experiment.config import conf_dir
from kd_lightning.models import check_model_name
from tests.conftest import Command

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def file_name(block: str) -> str | None:
    """The file that a block shows, named in its first line, such as `# mine.py`."""
    named = re.match(r"# (\S+\.(?:py|yaml))\n", block)
    return named[1] if named else None


COMMANDS = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines() if line[:2] == "$ "]
REFUSED = [
    (line.removeprefix("$ "), answer)
    for block in blocks("console")
    for line, answer in itertools.pairwise(block.splitlines())
    if answer.startswith("error: ")
]
SCRIPTS = [block for block in blocks("python") if not file_name(block)]


@pytest.fixture
def readers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the files that the README has its reader write."""
    for block in [*blocks("python"), *blocks("yaml")]:
        if name := file_name(block):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


def single_runs(arguments: list[str]) -> list[list[str]]:
    """The arguments of the first and the last run of a sweep; of a single run, its own."""
    if "-m" not in arguments:
        return [arguments]
    plain = [argument for argument in arguments if argument != "-m"]
    return [[re.sub(r"^(\w+=).*", rf"\g<1>{a.partition('=')[2].split(',')[i]}", a) for a in plain] for i in (0, -1)]


def test_there_is_something_to_test() -> None:
    assert len(COMMANDS) > 15
    assert len(SCRIPTS) == 2
    assert REFUSED


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_composes(line: str, command: Command, readers_folder: Path) -> None:
    name, *arguments = shlex.split(line)
    if name == "kd-report":  # composes no config
        report.parser().parse_args(arguments)
        return
    for one in single_runs(arguments):
        outcome = command(name, *one, "--cfg", "job")
        if any(line == refused and "no such config" in answer for refused, answer in REFUSED):
            assert outcome.code == 2
            continue
        assert outcome.code == 0, outcome.errors
        config = OmegaConf.create(outcome.output)
        for role in ("student", "teacher"):
            model = OmegaConf.select(config, f"{role}.model")
            if model is not None and line not in dict(REFUSED):
                check_model_name(model, f"{role}.model")


@pytest.mark.parametrize(("line", "answer"), REFUSED)
def test_bad_input_is_answered_as_shown(line: str, answer: str, command: Command) -> None:
    name, *arguments = shlex.split(line)
    outcome = command(name, *arguments)
    assert outcome.code == 2
    assert outcome.error_lines == [answer]


@pytest.mark.parametrize("code", SCRIPTS, ids=["reuse", "features"])
def test_a_script_runs(code: str, readers_folder: Path) -> None:
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


def test_own_classes_run(command: Command, readers_folder: Path) -> None:
    outcome = command(
        "kd-train",
        "--config-dir=my_conf",
        "data=stripes",
        "loss=[ce,kd,cosine]",
        "student.model={_target_: mine.SmallNet, width: 4, num_classes: 2}",
        "trainer.max_epochs=1",
        "callbacks.progress_bar=null",
    )
    assert outcome.code == 0, outcome.errors
    assert "SmallNet, ce + kd + cosine" in outcome.output


def test_every_method_stands_in_the_table() -> None:
    listed = re.findall(r"^\| `method=(\w+)` \|", README, re.MULTILINE)
    assert sorted(listed) == sorted(file.stem for file in (conf_dir() / "method").glob("*.yaml"))
