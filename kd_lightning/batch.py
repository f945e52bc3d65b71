"""What a training step receives: a mapping of tensors, whatever the loader gave."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError

Input = Tensor | Mapping[str, Tensor]
Batch = dict[str, Any]
INPUT = "input"
STRONG = "strong"  # the image strongly augmented
SECOND = "second"  # the image in another of its views
SAME_CLASS = "same_class"  # another image of the image's class
VIEWS = (STRONG, SECOND, SAME_CLASS)
KNOWN = "known."  # begins what sources know of a batch beforehand
TARGETS = ("target", "label", "labels")
OTHERS = {"index": "index", "idx": "index", "view": "view"}


def as_batch(batch: Any) -> Batch:
    """`input`, and `target` and `index` where they are there, from a mapping, a pair, a triple or a lone input.

    A mapping has an `input`, a tensor or itself a mapping of tensors; or, as of Hugging Face's data sets, it has none:
    then all tensors but `label` or `labels`, `index` or `idx`, and `view` are the input, and texts beside them, such as
    file names, are left out. A pair is (input, target), a triple (input, target, index), the index whole numbers (B,).
    Raises `UserError`.
    """
    if isinstance(batch, Tensor):
        return {INPUT: batch}
    named: Mapping[str, Any] = {}
    if isinstance(batch, Mapping):
        named = batch if INPUT in batch else gathered(batch)
    elif isinstance(batch, (tuple, list)) and (1 <= len(batch) <= 2 or is_indexed(batch)):
        named = dict(zip((INPUT, "target", "index"), batch, strict=False))
    if isinstance(named.get(INPUT), (Tensor, Mapping)):
        return {name: value for name, value in named.items() if value is not None}
    found = named.get(INPUT)
    held = "" if found is None else f", its input of type {type(found).__name__}"
    raise UserError(
        f"batch of type {type(batch).__name__}{held}: give (input, target), (input, target, index), a lone input, or a "
        "mapping with the key 'input', of tensors and from one loader"
    )


def is_indexed(batch: Any) -> bool:
    """Whether these are (input, target, index): a whole number for each sample stands last, and no second input."""
    if len(batch) != 3 or not isinstance(batch[0], (Tensor, Mapping)):
        return False
    first, target, index = first_tensor_of(batch[0]), batch[1], batch[2]
    if not isinstance(index, Tensor) or index.is_floating_point() or index.shape != first.shape[:1]:
        return False
    return target is None or (isinstance(target, Tensor) and (target.shape != first.shape or first.ndim < 2))


def gathered(batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch without `input`: its tensors as one, named as a network takes them, or where there is one that itself."""
    target = next((batch[name] for name in TARGETS if name in batch), None)
    others = {known: batch[name] for name, known in OTHERS.items() if name in batch}
    tensors = {name: value for name, value in batch.items() if name not in (*TARGETS, *OTHERS) and not is_text(value)}
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        return {}
    input = next(iter(tensors.values())) if len(tensors) == 1 else tensors
    return {INPUT: input, "target": target, **others}


def is_text(value: Any) -> bool:
    """Whether a value of a batch is a list of texts, one for each sample."""
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(one, str) for one in value)


def as_streams(batch: Any) -> dict[str, Batch]:
    """The batches of several streams by name, as `{labelled: loader, unlabelled: loader}` gives them; else one, of "".

    A mapping is one of streams where it holds a pair or a mapping under a name but `input`. Raises `UserError`.
    """
    if isinstance(batch, Mapping) and INPUT not in batch and any(map(is_batch, batch.values())):
        return {str(name): as_batch(value) for name, value in batch.items() if value is not None}
    return {"": as_batch(batch)}


def is_batch(value: Any) -> bool:
    """Whether a value of a mapping is a batch by itself: a mapping, or a pair that begins with an input."""
    if isinstance(value, Mapping):
        return True
    return isinstance(value, (tuple, list)) and bool(value) and isinstance(value[0], (Tensor, Mapping))


def main_stream(streams: Mapping[str, Mapping[str, Any]]) -> str:
    """The stream whose signals go by their names alone: the first one with targets, else the first."""
    return next((name for name, batch in streams.items() if "target" in batch), next(iter(streams)))


def main_batch(batch: Any) -> Batch:
    """A batch, or that of the main stream."""
    streams = as_streams(batch)
    return streams[main_stream(streams)]


def call(network: Callable[..., Any], input: Input) -> Any:
    """What a network makes of an input: `network(input)`, of a mapping `network(**input)`."""
    return network(**input) if isinstance(input, Mapping) else network(input)


def first_tensor_of(input: Input) -> Tensor:
    """An input, or the first tensor of a mapping: for batch size, shape and device."""
    return next(iter(input.values())) if isinstance(input, Mapping) else input


def size_of(batch: Mapping[str, Any]) -> int:
    """How many samples a batch has."""
    return len(first_tensor_of(batch[INPUT]))


def moved_to(value: Any, device: torch.device) -> Any:
    """A tensor on a device; of a mapping of tensors the mapping of theirs. Other values stay."""
    if isinstance(value, Mapping):
        return {name: moved_to(inner, device) for name, inner in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value


def shape_of(value: Any) -> Any:
    """A tensor's shape without the batch; of a mapping of tensors the mapping of theirs."""
    if isinstance(value, Mapping):
        return {name: shape_of(inner) for name, inner in value.items()}
    return tuple(value.shape[1:])


def as_text(shape: Any) -> str:
    """A shape on a line: 1x8x8, or input_ids 5, attention_mask 5."""
    if isinstance(shape, Mapping):
        return ", ".join(f"{name} {as_text(inner)}" for name, inner in shape.items())
    return "x".join(map(str, shape)) or "1"


def example_batch(inputs: Input) -> Batch:
    """A batch of these inputs with target, index, and further views of each sample."""
    first = first_tensor_of(inputs)
    zeros = torch.zeros(len(first), dtype=torch.int64, device=first.device)
    return {INPUT: inputs, **{f"{INPUT}_{view}": inputs for view in VIEWS}, "target": zeros, "index": zeros}


def example_of(batch: Batch) -> Batch:
    """A batch as an example, with what `example_batch` has and it has not, but for targets."""
    return {**{name: value for name, value in example_batch(batch[INPUT]).items() if name != "target"}, **batch}


def with_input(batch: Mapping[str, Any], input: str) -> Mapping[str, Any]:
    """The batch with another of its inputs as `input`, without what is known of the first; raises `UserError`.

    An input goes by its name, such as `audio`, a view by what follows in it, as `strong` for `input_strong`.
    """
    if input == INPUT:
        return batch
    value = batch.get(f"{INPUT}_{input}", batch.get(input))
    if value is None:
        raise UserError(
            f"{INPUT}_{input}: a term takes signals of this view or input, and the batch has none; let the loader give "
            f"it as '{INPUT}_{input}' or '{input}'; it gives {', '.join(batch)}"
        )
    return {name: value for name, value in batch.items() if not name.startswith((KNOWN, "view"))} | {INPUT: value}


class Constants(nn.Module):
    """Tensors by name that lie where the module lies and go into no checkpoint."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, value in values.items():
            self.register_buffer(name, value, persistent=False)

    def names(self) -> list[str]:
        return list(self._buffers)

    def items(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in self._buffers.items():
            assert value is not None
            yield name, value
