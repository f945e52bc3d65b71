"""Each addition, killed in its training, goes on exactly, and takes part in sweeps."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.additions.addition import Addition
from tests.additions.test_additions import each


@pytest.mark.slow
@each
def test_it_is_resumed_exactly_and_swept(addition: Addition, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.additions", addition.name, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
