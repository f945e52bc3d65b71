"""What a student says of a user's own image files: what kd-predict does."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import torch
from omegaconf import DictConfig
from torch import Tensor

from kd_lightning.config.conf import plain
from kd_lightning.data.folders.decoded import progress_bar
from kd_lightning.data.values import check_flag, check_whole
from kd_lightning.errors import UserError, did_you_mean
from kd_lightning.inference.files import OF_DATA, files_of, images_of
from kd_lightning.inference.predictor import Predictor, predictor
from kd_lightning.inference.rows import WRITERS, Row
from kd_lightning.system.files import replacing

LABEL = {"labels": "label"}  # what one of several labels is called; else a class


def predict(config: DictConfig) -> list[str]:
    """Write what the student of `config.run` says of the files of `config.input`; returns what could not be read, why.

    Raises UserError for what is wrong before any file is read.
    """
    check_options(config)
    kind = WRITERS[format_name(config.format, config.output)]
    given = plain(config.input)
    files = [file for one in (given if isinstance(given, list) else [given]) for file in files_of(one, "input")]
    student = predictor(config.run, config.device, trust=config.trust)
    unreadable: list[str] = []
    with opened(config.output) as text:
        writer = kind(text)
        for row in rows(student, [*dict.fromkeys(files)], config.batch_size, config.top, unreadable):
            writer.write(row)
        writer.finish()
    return unreadable


def check_options(config: DictConfig) -> None:
    """Raise UserError for values that cannot be."""
    check_whole("top", config.top, 1)
    check_whole("batch_size", config.batch_size, 1)
    check_flag("trust", config.trust)
    if not isinstance(config.device, str):
        raise UserError(f"device={config.device}: must be cpu, cuda or auto")
    output = config.output
    if not (output is None or (isinstance(output, str) and output)):
        raise UserError(f"output={output}: must be the name of a file, or null")
    if output is not None and (place := Path(output).expanduser()).is_dir():
        raise UserError(f"output={output}: is a folder; give the name of a file, such as {place / 'predictions.csv'}")


def format_name(given: str | None, output: str | None) -> str:
    """The format that is asked for, else that of the output's ending. Raises UserError for another one."""
    known = ", ".join(WRITERS)
    if given is not None:
        if given not in WRITERS:
            raise UserError(f"format={given}: no such format; {did_you_mean(str(given), WRITERS)}there are {known}")
        return given
    if output is None:
        return "table"
    ending = Path(output).suffix.lstrip(".")
    if ending in WRITERS:
        return ending
    if ending in ("txt", ""):
        return "table"
    raise UserError(f"output={output}: of its ending no format is known; give format={known.replace(', ', ' or ')}")


@contextmanager
def opened(output: str | None) -> Iterator[TextIO]:
    """Where predictions go: the terminal, or a file that is there once it is whole."""
    if output is None:
        yield sys.stdout
        return
    path = Path(output).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        yield file


def rows(student: Predictor, files: Sequence[Path], size: int, top: int, unreadable: list[str]) -> Iterator[Row]:
    """A row for each file that can be read, in their order; what is wrong with the others goes into `unreadable`."""
    waiting: list[tuple[Path, Tensor]] = []
    with progress_bar() as bar:
        task = bar.add_task("predicting", total=len(files))
        for number, (path, image) in enumerate(images_of(files, student.transform), start=1):
            if isinstance(image, UserError):
                unreadable.append(str(image).removeprefix(OF_DATA))
            else:
                waiting.append((path, image))
            if waiting and (len(waiting) == size or number == len(files)):
                yield from told(student, waiting, top)
                waiting = []
            bar.update(task, completed=number)


def told(student: Predictor, images: Sequence[tuple[Path, Tensor]], top: int) -> Iterator[Row]:
    """The rows of a batch."""
    given = student(torch.stack([image for _, image in images]))
    names = student.names if student.ranks else None
    if names is None or len(names) != given.shape[1]:
        names = [str(place) if student.ranks else f"output_{place}" for place in range(given.shape[1])]
    label = LABEL.get(student.outputs or "", "class")
    for (path, _), numbers in zip(images, given, strict=True):
        if student.ranks:
            values, places = numbers.topk(min(top, len(names)))
            said = [(names[place], value) for place, value in zip(places.tolist(), values.tolist(), strict=True)]
        else:
            said = list(zip(names, numbers.tolist(), strict=True))
        yield Row(path, said, student.ranks, label)
