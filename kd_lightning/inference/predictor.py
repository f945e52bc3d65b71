"""A student, or a file that it was exported to, as what answers about images."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kd_lightning.batch import INPUT
from kd_lightning.data.evaluation import EvaluationTransform
from kd_lightning.errors import UserError
from kd_lightning.exporting.alone import PROBABILITIES, answer
from kd_lightning.exporting.formats import Format, format_of
from kd_lightning.exporting.program import first_line
from kd_lightning.inference.exports import GIVES, alone_of
from kd_lightning.inference.student import trained
from kd_lightning.networks.description import DescribedData, Description
from kd_lightning.store.remembered import is_remembered

# By what a task's outputs are: how logits become what is told of a sample.
TOLD: dict[str | None, Callable[[Tensor], Tensor]] = {
    "classes": lambda logits: logits.softmax(1),
    "labels": torch.sigmoid,
    "numbers": lambda numbers: numbers,
}


@dataclass(frozen=True)
class Predictor:
    """Answers about images: probabilities (B, C) of classes, of labels each by itself, or numbers (B, K)."""

    run: Callable[[Tensor], Tensor]
    transform: EvaluationTransform
    names: list[str] | None
    outputs: str | None
    is_probability: bool

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1], on the CPU, to (B, C). Raises UserError for outputs of another shape."""
        given = self.run(images)
        if given.ndim != 2:
            shape = "x".join(map(str, given.shape[1:])) or "one number"
            raise UserError(f"run: the network gives {shape} for an image, and kd-predict tells one row of each")
        return given.double() if self.is_probability else TOLD[self.outputs](given.double())

    @property
    def ranks(self) -> bool:
        """Whether the likeliest are told, and not each output in its place."""
        return self.outputs != "numbers"


def predictor(path: str, device: str, *, trust: bool) -> Predictor:
    """The predictor of a run, of a student's weights, or of an exported file. Raises UserError."""
    kind = format_of(Path(path)) if isinstance(path, str) else None
    if kind is not None:
        return of_export(Path(path).expanduser(), kind, trust=trust)
    student = trained(path, "run", trust=trust)
    transform = image_transform(path, student.description)
    alone = alone_of(student, DescribedData(student.description).example()[INPUT], softmax=False)
    where = device_of(device)
    alone.to(where)
    return made(lambda images: answer(alone, (images.to(where),)).cpu(), transform, student.description, False)


def of_export(file: Path, kind: Format, *, trust: bool) -> Predictor:
    """The predictor of a file that kd-export wrote. Raises UserError where it is none, or may run code of others."""
    key = f"run={file}"
    if not file.is_file():
        raise UserError(f"{key}: no such file; give one that kd-export wrote")
    kind.check(key, to_load=True)
    if kind.runs_code and not trust and not is_remembered(hashlib.sha256(file.read_bytes()).hexdigest()):
        raise UserError(
            f"{key}: was not written here, and such a file may run any code as it is loaded; give trust=true if you "
            "trust whoever wrote it, or its .onnx"
        )
    try:
        loaded = kind.load(file)
    except Exception as error:  # engines raise what they like
        raise UserError(f"{key}: {kind.engine} does not load it ({first_line(error)}); export it again") from error
    description = Description.read(loaded.metadata, key)
    transform = image_transform(str(file), description)
    gives = loaded.metadata.get(GIVES)
    return made(lambda images: loaded.run((images,)), transform, description, gives == PROBABILITIES)


def made(
    run: Callable[[Tensor], Tensor], transform: EvaluationTransform, description: Description, is_probability: bool
) -> Predictor:
    outputs = "classes" if description.outputs is None and description.classes else description.outputs
    return Predictor(run, transform, description.classes, outputs or "numbers", is_probability)


def image_transform(path: str, description: Description) -> EvaluationTransform:
    """How image files become what the network takes. Raises UserError where nobody says."""
    if description.transform is None:
        takes = json.dumps(description.input)
        raise UserError(
            f"run={path}: the data {description.data} do not say how image files become the network's input ({takes}); "
            "for images give the data module evaluation_transform, a kd_lightning.data.EvaluationTransform"
        )
    return description.transform


def device_of(name: str) -> torch.device:
    """Raises UserError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:  # of many kinds, by device
        raise UserError(f"device={name}: {first_line(error)}; give cpu, cuda or auto") from error
    return device
