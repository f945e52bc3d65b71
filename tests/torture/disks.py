"""Disks that are full, or that take no large files: one line says how the run goes on, and then it ends as it would."""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.torture.forked import Process, start
from tests.torture.outcome import difference, left_in
from tests.torture.trial import Trial, tried

LIMIT = 300.0
QUICK = (
    *("trainer.max_epochs=2", "trainer.log_every_n_steps=1", "trainer.accelerator=cpu", "teacher.model=digits_cnn_8"),
    *("callbacks.progress_bar=null", "data.batch_size=200"),
)
WAYS = {
    "alone": ("teacher=none",),
    "with a teacher": (),
    "with answers kept": ("teacher.cache=logits", "scratch=false"),
}
SIZE = 64  # of the disk, in megabytes


def trials(count: int, seed: int, folder: Path) -> Iterator[Trial]:
    """So many runs on a disk with room for some files, or for files of some size."""
    wholes: dict[str, dict[str, Any]] = {}
    place = folder / "disks"
    may_mount = mounted(place)
    for number in range(count):
        chance, way = random.Random(f"{seed} {number}"), [*WAYS][number % len(WAYS)]
        if way not in wholes:
            process = run(way, place)
            assert process.wait(LIMIT) == 0, process.errors
            wholes[way] = left_in(place / "run")
        clear(place)
        fills = may_mount and number % 2 == 0
        attempt = filled if fills else limited
        yield tried(
            "disks",
            f"{'full' if fills else 'no large files'}, {way}",
            lambda: attempt(way, wholes[way], place, chance),  # noqa: B023
        )
        clear(place)
    if may_mount:
        subprocess.run(["umount", "--lazy", place], check=True)
    place.rmdir()


def mounted(place: Path) -> bool:
    """Whether the folder is a small disk of its own now."""
    place.mkdir()
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", place]
    return mount is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


def clear(place: Path) -> None:
    for entry in place.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def run(way: str, place: Path, largest: int | None = None) -> Process:
    """The run on the disk; what it says goes elsewhere."""
    arguments = (*QUICK, *WAYS[way], f"hydra.run.dir={place / 'run'}")
    said = place.with_name("disks-said")
    shutil.rmtree(said, ignore_errors=True)
    return start("kd-train", arguments, said, {"KD_LIGHTNING_CACHE": str(place / "cache")}, largest_file=largest)


def filled(way: str, whole: dict[str, Any], place: Path, chance: random.Random) -> str | None:
    room = chance.randrange(500)
    state = os.statvfs(place)
    (place / "filling").write_bytes(bytes(state.f_bavail * state.f_frsize - 1024 * room))
    process = run(way, place)
    process.wait(LIMIT)
    (place / "filling").unlink()
    return judged(process, way, whole, place, f"{room} kB free")


def limited(way: str, whole: dict[str, Any], place: Path, chance: random.Random) -> str | None:
    size = round(10 ** chance.uniform(3.7, 6.5))  # what it says is in a file, too
    process = run(way, place, size)
    process.wait(LIMIT)
    return judged(process, way, whole, place, f"files of {size} bytes")


def judged(process: Process, way: str, whole: dict[str, Any], place: Path, told: str) -> str | None:
    """What is wrong with how a run ended, or with what it is once there is room."""
    said = [line for line in process.errors.splitlines() if line.startswith(("error:", "Traceback"))]
    if process.code != 0 and (process.code != 1 or len(said) != 1 or not said[0].endswith("goes on")):
        return f"{told}: exit code {process.code}, {said or process.errors[-500:]}"
    process = run(way, place)
    if process.wait(LIMIT) != 0:
        return f"{told}: does not go on, {process.errors[-500:]}"
    found = difference(whole, left_in(place / "run"))
    return found and f"{told}: {found}"
