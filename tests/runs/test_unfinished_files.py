"""What a process that was killed had half written goes; what another is at work on stays."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kd_lightning.system.files import remove_unfinished, replacing, write_text
from tests.conftest import Command

WRITE = """
import sys, time
from pathlib import Path
from kd_lightning.system.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


@contextmanager
def writer(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process, in the middle of writing a file."""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, "-c", WRITE, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    with writer(tmp_path / "record.json"):
        assert len(os.listdir(tmp_path)) == 1
    write_text(tmp_path / "other.json", "whole")
    assert len(os.listdir(tmp_path)) == 2
    write_text(tmp_path / "record.json", "whole")
    assert sorted(os.listdir(tmp_path)) == ["other.json", "record.json"]


def test_kd_cache_removes_it_but_not_what_is_being_written(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "answers" / "0123456789abcdef"
    folder.mkdir(parents=True)
    with writer(folder / "cache.json"), writer(folder / "killed.json") as killed:
        killed.kill()
        killed.wait()
        assert len(os.listdir(folder)) == 2
        for name in ("ls", "rm"):
            command("kd-cache", "--dir", "cache", name)
            assert [file.partition(".json")[0] for file in os.listdir(folder)] == [".cache"]


def test_a_writer_keeps_its_file_whoever_tidies_meanwhile(tmp_path: Path) -> None:
    with replacing(tmp_path / "record.json") as temporary:
        temporary.write_text("mine")
        remove_unfinished(tmp_path)
        write_text(tmp_path / "record.json", "of another")
        assert temporary.exists()
    assert (tmp_path / "record.json").read_text() == "mine"
    assert os.listdir(tmp_path) == ["record.json"]


def test_other_hidden_files_stay(tmp_path: Path) -> None:
    for name in (".hidden", ".record.json.backup", f".{'0' * 32}", "record.json"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    assert len(os.listdir(tmp_path)) == 4
