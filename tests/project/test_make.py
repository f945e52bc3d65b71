"""What `make` says while it installs, and which tests its targets run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Makes an environment whose Python installs nothing, since the real one takes minutes.
VENV = '#!/bin/sh\nmkdir -p .venv/bin\nprintf "#!/bin/sh\\n" > .venv/bin/python\nchmod +x .venv/bin/python\n'

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


def make(folder: Path, *arguments: str) -> list[str]:
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", *arguments], cwd=folder, env=outer, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(VENV)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def test_installing_says_in_one_line_what_and_how_long(clone: Path) -> None:
    (line,) = make(clone, "install", "PYTHON=./python")
    assert all(word in line for word in ("Installing", "GB to download", "PyTorch", "on disk", "minutes"))
    assert not any("Installing" in line for line in make(clone, "install", "PYTHON=./python")), "once"


def test_every_test_runs_in_one_of_two_targets(clone: Path) -> None:
    make(clone, "install", "PYTHON=./python")
    selected = [make(clone, "-n", target)[-1].partition(" -m ")[2] for target in ("test", "test-long")]
    assert selected == ['"not slow"', "slow"]
    assert "mkdocs build --strict" in make(clone, "-n", "docs")[-1]
    steps = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make ")]
    assert steps == ["make test", "make docs", "make test-long"]
