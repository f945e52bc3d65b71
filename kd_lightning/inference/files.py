"""Image files that a user names: a folder, a file, or a pattern."""

import glob
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torch import Tensor

from kd_lightning.data.evaluation import EvaluationTransform
from kd_lightning.data.folders.images import SUFFIXES
from kd_lightning.data.folders.listing import image_files
from kd_lightning.errors import UserError

OF_DATA = "data.root: "  # with which the data's decoder begins what is wrong with a file
AT_A_TIME = 64  # files in memory while they are decoded


def files_of(given: str, key: str) -> list[Path]:
    """The image files below a folder, a file whatever its ending, or the files that a pattern matches, by name.

    `**` in a pattern stands for any folders. Raises UserError where there is none.
    """
    if not isinstance(given, str) or not given:
        raise UserError(f"{key}={given}: must be a folder, a file or a pattern such as photos/*.jpg")
    place = Path(given).expanduser()
    if place.is_dir():
        files = [place / found.name for found in image_files(place)]
        if not files:
            raise UserError(f"{key}={given}: holds no image file ({' '.join(sorted(SUFFIXES))})")
        return files
    if place.is_file():
        return [place]
    if not glob.has_magic(given):
        raise UserError(f"{key}={given}: no such file or folder")
    files = [Path(name) for name in sorted(glob.glob(str(place), recursive=True)) if Path(name).is_file()]
    if not files:
        raise UserError(f"{key}={given}: matches no file")
    return files


def images_of(files: Sequence[Path], transform: EvaluationTransform) -> Iterator[tuple[Path, Tensor | UserError]]:
    """Each file with its image as evaluation shows it, float32 (C, H, W), or with what is wrong with it; in order."""

    def read(path: Path) -> Tensor | UserError:
        try:
            return transform(path)
        except UserError as error:
            return error

    with ThreadPoolExecutor() as pool:  # decoders leave Python's lock
        for start in range(0, len(files), AT_A_TIME):
            part = files[start : start + AT_A_TIME]
            yield from zip(part, pool.map(read, part), strict=True)
