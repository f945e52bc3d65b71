"""The tutorials run, from top to bottom, with a few batches, and print the lines that they show."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Command, Outcome
from tests.documents.page import Page

SHORT = (
    *("trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.accelerator=cpu"),
    *("callbacks.progress_bar=null", "scratch=false"),
)
ELSEWHERE = ("data=cifar", "data=imagenet", "launcher=submitit_slurm", "launcher=ray")  # needs what is not here
NAMES = ("model", "data", "loss", "teacher", "many", "sweep", "report")
TUTORIALS = {name: Page(f"docs/tutorials/{name}.md") for name in NAMES}


def lines(page: Page, *, slow: bool) -> list[str]:
    """The commands that can run here, but for those that take long, or these: many runs, and folders of images."""
    of_many_runs = (TUTORIALS["sweep"], TUTORIALS["many"])
    here = [line for line in page.commands if line.startswith("kd-") and not any(one in line for one in ELSEWHERE)]
    return [line for line in here if (page in of_many_runs or "data.root=pets" in line) == slow]


FAST = {name: page for name, page in TUTORIALS.items() if lines(page, slow=False)}
LONG = {name: page for name, page in TUTORIALS.items() if lines(page, slow=True)}


@pytest.fixture
def pets(tmp_path: Path) -> None:
    """The folder of images that a tutorial has: a colour for each class."""
    for split, count in (("train", 8), ("val", 2)):
        for kind, colour in (("cat", "black"), ("dog", "white")):
            (tmp_path / "pets" / split / kind).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (80, 80), colour).save(tmp_path / "pets" / split / kind / f"{number}.png")


def follow(
    page: Page, typed: list[str], command: Command, folder: Path, short: Sequence[str] = SHORT
) -> dict[str, Outcome]:
    """Type the lines; a command that is shown to end with unreadable files has the exit code 1."""
    outcomes = {}
    for line in typed:
        name, *arguments = shlex.split(line, comments=True)
        arguments = [re.sub(r"(n_trials)=\d+", r"\1=3", argument) for argument in arguments]
        outcome = command(name, *arguments, *(short if name == "kd-train" else ()))
        shown = page.shown(line)
        told = [one for one in shown if one.startswith("unreadable: ")]
        assert outcome.code == bool(told), f"{line}\n{outcome.errors}"
        assert all(one.partition(" (")[0] in outcome.errors for one in told)  # not why, which the decoder says
        for one in shown:
            if re.match(r"student {8}|sweep  \d+ jobs|│ (stage|pooled|logits)", one):
                assert one.split(" in ")[0] in outcome.output, one
        named = [re.search(r"(outputs/\S+)", one) for one in shown if one.startswith("run  ")]
        if named and named[0] and not (folder / named[0][1]).exists():
            shutil.move(outcome.run, folder / named[0][1])  # where the tutorial's was
        outcomes[line] = outcome
    return outcomes


@pytest.mark.parametrize(("name", "page"), FAST.items(), ids=FAST)
def test_a_tutorial_runs(name: str, page: Page, command: Command, readers_folder: Path) -> None:
    follow(page, lines(page, slow=False), command, readers_folder)
    if name == "report":
        assert {file.suffix for file in (readers_folder / "comparison").iterdir()} == {".html", ".csv", ".md"}
        assert (readers_folder / "multirun" / "first" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("pets")
@pytest.mark.parametrize(("name", "page"), LONG.items(), ids=LONG)
def test_its_long_parts_run(name: str, page: Page, command: Command, readers_folder: Path) -> None:
    follow(page, lines(page, slow=True), command, readers_folder)


@pytest.mark.slow
def test_ranks_of_torchrun_train_as_shown(tmp_path: Path) -> None:
    (line,) = (one for one in Page("docs/tutorials/cluster.md").commands if one.startswith("torchrun "))
    commands = Path(sys.executable).parent  # where a reader's shell would find them
    begun = subprocess.run(
        [*shlex.split(line), *SHORT, "teacher.model=digits_cnn_4"],
        cwd=tmp_path,
        env={**os.environ, "PATH": os.pathsep.join([str(commands), os.environ.get("PATH", os.defpath)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert begun.returncode == 0, begun.stderr[-3000:]
    assert begun.stdout.count("student        digits_cnn_4, ce + kd") == 1  # the first rank speaks for both
    summary = json.loads((tmp_path / "runs" / "a" / "summary.json").read_text())
    assert summary["student"]["model"] == "digits_cnn_4"
