"""Image files decoded once into a file of pixels, which is mapped into memory from then on."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from kd_lightning.data.folders.files import EncodedImages
from kd_lightning.data.folders.images import DECODING
from kd_lightning.data.memory import MemoryImages
from kd_lightning.errors import UserError
from kd_lightning.store import Store
from kd_lightning.system.files import write_json
from kd_lightning.system.records import damaged, read_record

AT_A_TIME = 256  # images in memory while they are decoded
PIXELS, DESCRIPTION = "pixels.npy", "images.json"
DIGEST = "sha256"  # in the description, of pixels and labels


def decoded(files: EncodedImages, cache: Path) -> MemoryImages:
    """As evaluation shows them, from the store in `cache` once any process was here first; others wait meanwhile.

    Raises UserError naming a file that cannot be read, and where the cache's folder takes no more.
    """
    decided_by = {
        "decoding": DECODING,
        "image_size": files.image_size,
        "resize_size": files.resize_size,
        "files": files.digest(),
    }
    try:
        return Store(cache).obtain(
            "images",
            decided_by,
            lambda folder: decode(files, folder),
            lambda folder: stored(files, folder),
            "the images are decoded anew",
            by_each_rank=True,
        )
    except OSError as error:
        size = len(files.targets) * 3 * files.image_size**2 / 1e6
        raise UserError(
            f"data.cache={cache}: cannot keep {size:.0f} MB of decoded images there ({error.strerror or error}); "
            "make room or choose another folder"
        ) from error


def stored(files: EncodedImages, home: Path) -> MemoryImages:
    """uint8 (N, 3, H, W), mapped. Raises `Damaged` where they are not as they were written.

    The checksum costs nothing more: the same digest names whatever is kept of these images.
    """
    try:
        about = read_record(home / DESCRIPTION, {DIGEST: str}, strict=True)
        images = None if about is None else MemoryImages(torch.from_numpy(mapped(home / PIXELS)), files.targets)
        if images is not None and images.images.shape == shape(files) and images.digest == about[DIGEST]:
            return images
        reason = "its checksum is another"
    except Exception as error:  # a damaged file can raise anything
        reason = str(error)
    raise damaged(home, reason)


def mapped(path: Path) -> np.ndarray:
    pixels: np.ndarray = np.load(path, mmap_mode="c")  # torch wants it writable; what is written stays in memory
    return pixels


def shape(files: EncodedImages) -> tuple[int, int, int, int]:
    return len(files.targets), 3, files.image_size, files.image_size


def progress_bar() -> Progress:
    """On the terminal's other channel, gone at the end; silent where that is none."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def decode(files: EncodedImages, folder: Path) -> MemoryImages:
    """Fill an empty folder; through a mapping a full disk would kill the process."""
    with (folder / PIXELS).open("wb") as file, ThreadPoolExecutor() as pool:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape(files)}
        np.lib.format.write_array_header_1_0(file, header)
        parts = torch.arange(len(files.targets)).split(AT_A_TIME)
        with progress_bar() as bar:
            for rows in bar.track(parts, description=f"decoding {files.place}"):
                for image in pool.map(files.one, rows.tolist(), [None] * len(rows)):
                    file.write(image.numpy().tobytes())
        file.flush()
        os.fsync(file.fileno())
    images = MemoryImages(torch.from_numpy(mapped(folder / PIXELS)), files.targets)
    about = {"root": files.place, "images": len(files.targets), "image_size": files.image_size}
    write_json(folder / DESCRIPTION, {**about, DIGEST: images.digest})
    return images
