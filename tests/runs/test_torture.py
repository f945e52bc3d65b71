"""`make torture` in short: what `python -m tests.torture` tries by the dozen, a few times."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from tests.torture import __main__ as torture
from tests.torture.trial import Trial, show

SHORT = {"kills": 9, "disks": 3, "ranks": 1, "foreign": 4, "configs": 4, "damage": 8}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHORT)
def test_a_few_of_each_kind_go_as_expected(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "tests.torture", kind, f"--count={SHORT[kind]}", "--seed=0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    with capfd.disabled():
        print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_kinds_have_a_short_form() -> None:
    assert {*SHORT} == {*torture.KINDS}


def test_what_fails_is_told_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    trials = [Trial("kills", "a run", 1.6, None), Trial("kills", "a run", 2.0, "a file [is] missing")]
    assert not show(trials, Console(width=120))
    lines = capsys.readouterr().out.splitlines()
    assert Counter(line.split()[-3:] == ["2", "1", "4"] for line in lines)[True] == 2, "of the kind, and of all"
    assert lines[-1] == "kills, a run: a file [is] missing"
    assert show(trials[:1], Console(width=120))
