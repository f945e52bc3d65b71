"""A disk that takes no more: one line that says how the command goes on, and then it ends as it would have."""

import errno
import logging
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from kd_lightning.config.refusals.os_errors import disk_failure
from kd_lightning.models import save_weights
from kd_lightning.runs.arrays import write_arrays
from kd_lightning.store import RecordFile
from kd_lightning.system.disk import NotWritten, failure_of, is_of_the_disk, thread_disk_errors
from kd_lightning.system.files import replacing, write_text
from tests.conftest import Command, Outcome
from tests.data.test_folder import tree
from tests.runs.run_process import outcome

SMALL = (
    *("teacher=none", "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "trainer.accelerator=cpu"),
    *("callbacks.progress_bar=null", "data.batch_size=200"),
)
FULL, LARGE = os.strerror(errno.ENOSPC), os.strerror(errno.EFBIG)
TextsOfOthers = [
    RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),
    RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    RuntimeError("basic_ios::clear: iostream error"),
    RuntimeError("unable to write to file </torch_17_42_0>: No space left on device (28)"),
    RuntimeError(
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are "
        "out of shared memory. Please try to raise your shared memory limit."
    ),
    OSError("1000000 requested and 4096 written"),
    sqlite3.OperationalError("database or disk is full"),
    sqlite3.OperationalError("disk I/O error"),
    type("SafetensorError", (Exception,), {})("Error while serializing: I/O error: Disk quota exceeded (os error 122)"),
    FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/var/tmp']"),
    OSError(
        "Caught OSError in DataLoader worker process 0.\nOriginal\n  x()\nOSError: [Errno 28] No space left on device"
    ),
    OSError("Can't synchronously write data (errno = 5, error message = 'Input/output error')"),
]


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """The system refuses to write more into a file of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], AbstractContextManager[Path]]]:
    """A disk of its own, the current folder, that has room for so many kilobytes meanwhile; skips without mounts."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=64m", "tmpfs", place]).returncode:
        pytest.skip("nothing may be mounted here")

    @contextmanager
    def leaving(kilobytes: int) -> Iterator[Path]:
        state = os.statvfs(place)
        (place / "filling").write_bytes(bytes(state.f_bavail * state.f_frsize - 1024 * kilobytes))
        try:
            yield place
        finally:
            (place / "filling").unlink()

    yield leaving
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run leaves that is never short of room."""
    from tests.conftest import trained_once

    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)  # no repository, whose revision the page would tell
        return outcome(trained_once(place, "run", *SMALL))


def assert_one_line(stopped: Outcome, *words: str) -> None:
    assert stopped.code == 1, stopped
    assert len(stopped.error_lines) == 1, stopped.errors
    assert "Traceback" not in stopped.errors + stopped.output
    assert all(word in stopped.error_lines[0] for word in words), stopped.error_lines[0]


@pytest.mark.parametrize(
    ("size", "file"), [(1000, ".hydra/resolved.yaml"), (20_000, "checkpoints/best.ckpt"), (10**6, "report.html")]
)
def test_a_run_goes_on_once_larger_files_are_allowed(
    size: int, file: str, whole: dict[str, Any], command: Command
) -> None:
    with no_file_above(size):
        stopped = command("kd-train", *SMALL, "hydra.run.dir=run")
    run = stopped.folder / "run"
    remedy = f"allow larger files (ulimit -f), then the same command with hydra.run.dir={run} goes on"
    assert_one_line(stopped, f"{run / file}: cannot be written ({LARGE}); {remedy}")
    assert command("kd-train", *SMALL, "hydra.run.dir=run").code == 0
    assert outcome(run) == whole


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 10, 20, 26, 40, 62, 96, 110, 130, 140, 150, 160, 1000])
def test_a_run_goes_on_once_there_is_room(
    room: int, whole: dict[str, Any], small_disk: Callable[[int], AbstractContextManager[Path]], command: Command
) -> None:
    with small_disk(room) as place:
        stopped = command("kd-train", *SMALL, f"hydra.run.dir={place / 'run'}")
    remedy = f"make room, then the same command with hydra.run.dir={place / 'run'} goes on"
    assert_one_line(stopped, f"error: {place / 'run'}/", f"({FULL}); {remedy}")
    assert command("kd-train", *SMALL, f"hydra.run.dir={place / 'run'}").code == 0
    assert outcome(place / "run") == whole


def test_a_sweep_ends_with_one_line_and_goes_on(command: Command) -> None:
    arguments = ("-m", *SMALL, "trainer.max_epochs=1", "seed=0,1", "hydra.sweep.dir=sweep")
    with no_file_above(20_000):
        stopped = command("kd-train", *arguments)
    sweep = stopped.folder / "sweep"
    assert_one_line(stopped, f"{sweep}/0/", LARGE, f"the same command with hydra.sweep.dir={sweep} goes on")
    assert not (sweep / "1").exists()
    went_on = command("kd-train", *arguments)
    assert went_on.code == 0, went_on.errors
    assert "2/2 done" in went_on.output


def test_decoded_images_that_cannot_be_kept_end_a_run_and_a_sweep(command: Command) -> None:
    tree(Path("pets"), "train", "val")
    arguments = ("data=small_folder", "data.root=pets", "data.image_size=64", "data.batch_size=4", "teacher=none")
    for folder in ((), ("-m", "seed=0,1")):
        with no_file_above(50_000):
            stopped = command("kd-train", *arguments, *folder)
        assert_one_line(stopped, "data.cache=", f"decoded images there ({LARGE}); make room")
        assert not list(stopped.folder.rglob("1/status.json"))
    assert_one_line(stopped, "make room or choose another folder, then the same command with hydra.sweep.dir=")


def test_what_tensorboard_writes_in_a_thread_ends_a_run_with_one_line(command: Command) -> None:
    pytest.importorskip("tensorboard")
    with no_file_above(9500):
        stopped = command("kd-train", *SMALL, "logger=tensorboard", "trainer.max_epochs=1", "hydra.run.dir=run")
    assert_one_line(stopped, f"{stopped.folder / 'run'}", LARGE, "goes on")


def test_what_the_page_is_shown_in_is_told(command: Command, run_folder: Path) -> None:
    with no_file_above(10**6):
        stopped = command("kd-report", str(run_folder))
    assert_one_line(stopped, LARGE, "report.html")


@pytest.mark.parametrize("error", TextsOfOthers, ids=lambda error: str(error)[:30])
def test_it_is_known_by_what_others_say_of_it(error: Exception) -> None:
    assert failure_of(error) is not None
    later = ValueError("I/O operation on closed file")
    later.__context__ = error
    assert failure_of(later) is not None
    told = disk_failure(error, Path("run"), "go on")
    assert told is not None
    assert len(str(told).splitlines()) == 1
    assert str(told).endswith(", then go on")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("PytorchStreamReader failed reading zip archive: failed finding central directory"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "data"),
        ValueError("cannot be written"),
        PermissionError(errno.EACCES, "Permission denied", "/data/cat.png"),
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
    ],
    ids=repr,
)
def test_other_errors_are_none_of_a_disk(error: Exception) -> None:
    assert failure_of(error) is None


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_text(path, "1" * 10_000),
        lambda path: write_arrays(path, {"a": np.random.default_rng(0).random(10_000)}),
        lambda path: save_weights(torch.nn.Linear(100, 100), path),
        lambda path: torch_saved(path),
    ],
    ids=["text", "arrays", "weights", "checkpoint"],
)
def test_every_writer_names_its_file_and_leaves_the_one_before(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with no_file_above(2000), pytest.raises(NotWritten) as refused:
        write(path)
    assert (refused.value.errno, refused.value.filename) == (errno.EFBIG, str(path))
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["file"]


def torch_saved(path: Path) -> None:
    with replacing(path) as temporary:
        torch.save({"weights": torch.rand(10_000)}, temporary)


def test_a_log_that_cannot_be_written_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    full = open("/dev/full", "w")  # noqa: SIM115 # closing it fails
    with thread_disk_errors():
        handler = logging.StreamHandler(full)
        handler.handle(logging.makeLogRecord({"msg": "what nobody reads"}))
        handler.handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))
    with pytest.raises(OSError, match=FULL):
        full.close()
    said = capfd.readouterr().err
    assert "no number" in said
    assert FULL not in said


class Shut(Dataset[int]):
    """Writes what there is no room for."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        with open("/dev/full", "w") as file:
            file.write("1")
        return index


def test_what_a_worker_of_a_data_loader_could_not_write_is_told() -> None:
    with pytest.raises(OSError, match="DataLoader worker") as refused:
        list(DataLoader(Shut(), num_workers=1))
    told = disk_failure(refused.value, None, "go on")
    assert str(told) == f"a file: cannot be written ({FULL}); make room, then go on"


def test_what_a_thread_could_not_write_is_kept_and_other_errors_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", shown.append)

    def fail(error: Exception) -> None:
        raise error

    with thread_disk_errors() as told:
        for error in (OSError(errno.ENOSPC, FULL), ValueError("of something else")):
            thread = threading.Thread(target=fail, args=(error,))
            thread.start()
            thread.join()
    assert [type(error) for error in told] == [OSError]
    assert [one.exc_type for one in shown] == [ValueError]


def test_a_file_of_records_with_holes_is_read_on_a_full_disk(
    small_disk: Callable[[int], AbstractContextManager[Path]],
) -> None:
    with small_disk(0) as place:
        records = RecordFile(place / "records", 10**6, 3)
        assert not records.read(torch.arange(0, 10**6, 1000))[1].any(), "a mapping would have ended the process"


def test_output_that_goes_to_a_full_disk_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kd_lightning.commands.cache", "--dir", str(tmp_path), "ls"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with open("/dev/full", "w") as full:
        told = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    line = f"error: standard output: cannot be written ({FULL}); make room, then run the same command again"
    assert (told.returncode, told.stderr.split("\n")) == (1, [line, ""])


def test_an_exception_that_is_its_own_cause_is_not_the_disk() -> None:
    error = ValueError("from itself")
    error.__cause__ = error
    assert not is_of_the_disk(error)
