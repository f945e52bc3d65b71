"""Image files decoded once into a file of pixels, which is mapped into memory from then on."""

import hashlib
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from kd_lightning.data.folders.files import FileImages
from kd_lightning.data.folders.images import DECODING
from kd_lightning.data.memory import MemoryImages
from kd_lightning.errors import UserError
from kd_lightning.store.folders import lock_beside
from kd_lightning.system.files import write_json
from kd_lightning.system.locks import held
from kd_lightning.system.records import Damaged, read_record, warn_once

AT_A_TIME = 256  # images in memory while they are decoded
PIXELS, DESCRIPTION = "pixels.npy", "images.json"
DIGEST = "sha256"  # in the description, of pixels and labels


def decoded(files: FileImages, cache: Path) -> MemoryImages:
    """As evaluation shows them, from `cache`/images once any process was here first; others wait for it meanwhile.

    Raises UserError naming a file that cannot be read, and where the cache's folder takes no more.
    """
    home = cache / "images" / state(files)[:16]
    images = stored(home, files)
    try:
        if images is None:
            home.parent.mkdir(parents=True, exist_ok=True)
            with held(FileLock(lock_beside(home)), str(home)):
                images = stored(home, files)
                if images is None:
                    decode(files, home)
                    images = stored(home, files)
    except OSError as error:
        size = len(files.names) * 3 * files.image_size**2 / 1e6
        raise UserError(
            f"data.cache={cache}: cannot keep {size:.0f} MB of decoded images there ({error.strerror or error}); "
            "make room or choose another folder"
        ) from error
    assert images is not None
    return images


def state(files: FileImages) -> str:
    """SHA-256 of what decides the pixels: names, sizes and times of the files, and the images' size."""
    return hashlib.sha256(f"{DECODING} {files.image_size} {files.resize_size} {files.digest()}".encode()).hexdigest()


def stored(home: Path, files: FileImages) -> MemoryImages | None:
    """uint8 (N, 3, H, W), mapped; None where there is none, and with a warning where it is not as it was written.

    The checksum costs nothing more: the same digest names whatever is kept of these images.
    """
    if not home.exists():
        return None
    try:
        about = read_record(home / DESCRIPTION, {DIGEST: str}, strict=True)
        images = None if about is None else MemoryImages(torch.from_numpy(mapped(home / PIXELS)), files.targets)
        if images is not None and images.images.shape == shape(files) and images.digest == about[DIGEST]:
            return images
        reason = "its checksum is another"
    except Damaged as error:
        reason = str(error)
    except Exception as error:  # a damaged file can raise anything
        reason = str(error)
    warn_once(f"{home}: is damaged ({reason}); the images are decoded anew")
    return None


def mapped(path: Path) -> np.ndarray:
    pixels: np.ndarray = np.load(path, mmap_mode="c")  # torch wants it writable; what is written stays in memory
    return pixels


def shape(files: FileImages) -> tuple[int, int, int, int]:
    return len(files.names), 3, files.image_size, files.image_size


def progress_bar() -> Progress:
    """On the terminal's other channel, gone at the end; silent where that is none."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def decode(files: FileImages, home: Path) -> None:
    """Fill the folder `home`, which appears in one rename; through a mapping a full disk would kill the process."""
    unfinished = home.with_name(f"{home.name}.unfinished")
    for folder in (unfinished, home):
        shutil.rmtree(folder, ignore_errors=True)
    unfinished.mkdir()
    try:
        with (unfinished / PIXELS).open("wb") as file, ThreadPoolExecutor() as pool:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape(files)}
            np.lib.format.write_array_header_1_0(file, header)
            parts = torch.arange(len(files.names)).split(AT_A_TIME)
            with progress_bar() as bar:
                for rows in bar.track(parts, description=f"decoding {files.root}"):
                    for image in pool.map(files.one, rows.tolist(), [None] * len(rows)):
                        file.write(image.numpy().tobytes())
            file.flush()
            os.fsync(file.fileno())
        about = {"root": str(files.root), "images": len(files.names), "image_size": files.image_size}
        digest = MemoryImages(torch.from_numpy(mapped(unfinished / PIXELS)), files.targets).digest
        write_json(unfinished / DESCRIPTION, {**about, DIGEST: digest})
        os.replace(unfinished, home)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
