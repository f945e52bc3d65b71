"""What a file of weights tells of its network, so that it is built again from the file alone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from kd_lightning.batch import INPUT, Batch, example_of, shape_of
from kd_lightning.conversions.entries import KEY as CONVERSIONS
from kd_lightning.data import DataModule
from kd_lightning.data.data import example_input
from kd_lightning.data.evaluation import EvaluationTransform
from kd_lightning.errors import UserError
from kd_lightning.networks.network import Network
from kd_lightning.tasks import Task

KEY = "network"  # in the metadata of a file of weights


@dataclass(frozen=True)
class Description:
    """A network as plain values: what builds it, what it takes, what it gives.

    `network` are the fields that build it; `input` the shape without the batch and the type of each tensor that it
    takes, by name for a mapping; `transform` how an image file becomes one; `classes` are the data's, in the order of
    logits; `outputs` as a task says it.
    """

    network: Mapping[str, Any]
    data: str
    input: Any
    transform: EvaluationTransform | None
    classes: list[str] | None
    num_classes: int | None
    outputs: str | None

    @classmethod
    def of(cls, network: Network, data: DataModule, task: Task) -> "Description":
        try:
            known: int | None = data.num_classes
        except UserError:
            known = None
        transform, names = data.evaluation_transform, data.class_names
        names = None if names is None else [str(name) for name in names]
        spec = _spec(example_input(data))
        return cls(network.as_values(), data.name, spec, transform, names, known, task.outputs)

    @classmethod
    def read(cls, metadata: Mapping[str, str], key: str) -> "Description":
        """The one that lies beside weights. Raises UserError where none does."""
        try:
            values = json.loads(metadata[KEY])
            transform = values.pop("transform")
            return cls(transform=None if transform is None else EvaluationTransform.from_values(transform), **values)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(
                f"{key}: does not tell which network its weights are of; give a run's folder, or the file with the "
                "student's weights that kd-train writes there"
            ) from None

    def text(self) -> str:
        """The same as JSON."""
        transform = None if self.transform is None else self.transform.as_values()
        return json.dumps({**vars(self), "transform": transform})

    def beside_weights(self) -> dict[str, str]:
        return {KEY: self.text()}


def builds(metadata: Mapping[str, str]) -> str:
    """What a network is built from, by what lies beside its weights: its description, and its conversions."""
    return json.dumps([metadata.get(KEY), metadata.get(CONVERSIONS)])


class DescribedData(DataModule):
    """Stands for the data of a network that is built again: what it takes, and no samples."""

    validates_on = "none"
    batch_size = 2

    def __init__(self, description: Description) -> None:
        super().__init__()
        self.description = description
        self.name = description.data

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        return {INPUT: shape_of(self.example()[INPUT])}

    def example(self) -> Batch:
        """Noise in the input's shape; ones of whole numbers."""
        return example_of({INPUT: _noise(self.description.input)})

    def fingerprint(self) -> dict[str, Any]:
        return {"name": self.name}

    @property
    def evaluation_transform(self) -> EvaluationTransform | None:
        return self.description.transform

    @property
    def class_names(self) -> list[str] | None:
        return self.description.classes

    @property
    def num_classes(self) -> int:
        """Raises UserError where nobody said."""
        if self.description.num_classes is None:
            raise UserError(f"data {self.name}: how many classes they have is not known")
        return self.description.num_classes

    def sizes(self) -> dict[str, int | None]:
        return {}


def _spec(value: Any) -> Any:
    """The shape without the batch, and the type, of a tensor; of a mapping of tensors by name."""
    if isinstance(value, Tensor):
        return {"shape": list(value.shape[1:]), "dtype": str(value.dtype).removeprefix("torch.")}
    return {name: _spec(inner) for name, inner in value.items()}


def _noise(spec: Any) -> Any:
    """A batch of two of it."""
    if isinstance(spec.get("shape"), list):
        shape, dtype = (2, *spec["shape"]), getattr(torch, spec["dtype"])
        if not dtype.is_floating_point:
            return torch.ones(shape, dtype=dtype)
        return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    return {name: _noise(inner) for name, inner in spec.items()}
