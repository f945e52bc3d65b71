"""Which of many encoded images cannot be decoded: found in one go, before anything is trained, and remembered."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import simplejpeg
import torch

from kd_lightning.data.folders.decoded import AT_A_TIME, progress_bar
from kd_lightning.data.folders.files import EncodedImages
from kd_lightning.data.folders.images import (
    DECODING,
    File,
    as_rgb,
    bytes_of,
    in_8_bits,
    jpeg_size,
    name_of,
    opened,
)
from kd_lightning.errors import UserError
from kd_lightning.store import Store
from kd_lightning.system.files import write_json
from kd_lightning.system.records import Each, read_record
from kd_lightning.terminal import warn

Unreadable = Literal["fail", "skip"]
RECORD = "readable.json"
SHOWN = 20  # names in a message
REDUCED = 8  # of a JPEG's sides, whose data are all decoded then, for 0.6 of the time
Given = TypeVar("Given", bound=EncodedImages)


def readable(images: Given, unreadable: Unreadable | None, cache: Path) -> Given:
    """The images that can be decoded: with `skip` without the others, which a warning names; None looks at none.

    Raises UserError naming those that cannot, with `fail`, and where none can. What was found is kept in the folder
    `cache`, for as long as no file changes.
    """
    if unreadable is None:
        return images
    found = faults(images, cache)
    if not found:
        return images
    names = [f"{name_of(images.file(row))} ({reason})" for row, reason in sorted(found.items())]
    several = "1 image" if len(names) == 1 else f"{len(names)} images"
    listed = ", ".join(names[:SHOWN]) + (f", … and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    if unreadable == "fail":
        raise UserError(
            f"data.unreadable=fail: {several} of {len(images.targets)} in {images.place} cannot be read: {listed}; "
            "replace or remove them, or leave them out with data.unreadable=skip"
        )
    rows = torch.tensor([row for row in range(len(images.targets)) if row not in found], dtype=torch.int64)
    if not len(rows):
        raise UserError(f"data.unreadable=skip: no image in {images.place} can be read: {listed}; give others")
    warn(f"data.unreadable=skip: {several} of {len(images.targets)} in {images.place} left out: {listed}")
    return images.only(rows)


def faults(images: EncodedImages, cache: Path) -> dict[int, str]:
    """Why images cannot be decoded, by their rows; found once by any process, others wait meanwhile."""
    decided_by = {"decoding": DECODING, "files": images.digest(empty=True)}
    look = partial(look_at_all, images)
    again = "the images are looked at anew"
    return Store(cache).obtain_or_make("readable", decided_by, look, stored, again, by_each_rank=True)


def stored(home: Path) -> dict[int, str] | None:
    record = read_record(home / RECORD, {"faults": Each(str)}, strict=True)
    return None if record is None else {int(row): reason for row, reason in record["faults"].items()}


def look_at_all(images: EncodedImages, folder: Path | None) -> dict[int, str]:
    """Decode them all, and note in a folder what fails."""
    found: dict[int, str] = {}
    with ThreadPoolExecutor() as pool, progress_bar() as bar:
        parts = torch.arange(len(images.targets)).split(AT_A_TIME)
        for rows in bar.track(parts, description=f"reading {images.place}"):
            reasons = pool.map(partial(fault_of, images), rows.tolist())
            found |= {row: reason for row, reason in zip(rows.tolist(), reasons, strict=True) if reason is not None}
    if folder is not None:
        named = {name_of(images.file(row)): reason for row, reason in found.items()}
        about = {"place": images.place, "images": len(images.targets), "faults": found, "names": named}
        write_json(folder / RECORD, about)
    return found


def fault_of(images: EncodedImages, row: int) -> str | None:
    """Why an image cannot be decoded; None where it can."""
    try:
        decode_once(images.file(row))
    except UserError as error:
        return str(error).partition("cannot be read as an image (")[2].rpartition(")")[0] or str(error)
    return None


def decode_once(file: File) -> None:
    """Raise UserError naming a file that training or evaluation could not decode."""
    try:
        data = bytes_of(file)
        height, width = jpeg_size(data)
        simplejpeg.decode_jpeg(data, min_height=height // REDUCED, min_width=width // REDUCED, min_factor=REDUCED)
    except (OSError, ValueError):  # Pillow decodes all else, or says what is wrong
        with opened(file) as image:
            image.load()
            as_rgb(in_8_bits(image))
