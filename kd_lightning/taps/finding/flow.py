"""Which tensor of a run came from which."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kd_lightning.batch import Input, first_tensor_of


class Flow(TorchDispatchMode):
    """Numbers the states of all memory that depends on an example, and what each was computed from.

    A state is a node: memory as some operation left it. A view is its base's node; an operation in place makes a new
    node of the same memory. Nodes are numbered in the order in which they came to be.
    """

    def __init__(self, example: Input) -> None:
        super().__init__()
        self.parents: list[set[int]] = [set()]
        self.made_by = [""]  # the operation, as in aten.mean.dim
        self.state = {storage_of(first_tensor_of(example)): 0}  # the others, such as masks, enter everywhere
        self._alive: list[Any] = [example]  # so that no address is used twice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        sources = {self.state[s] for s in map(storage_of, _tensors((args, kwargs))) if s in self.state}
        written = {storage_of(tensor) for tensor in _written(func, args, kwargs)} if sources else set()
        output = func(*args, **kwargs)
        if sources:
            self._alive.append(output)
            new = {s for s in map(storage_of, _tensors(output)) if s not in self.state}
            for storage in written | new:
                self.parents.append(sources)
                self.made_by.append(str(func))
                self.state[storage] = len(self.parents) - 1
        return output

    def node(self, tensor: Tensor) -> int | None:
        return self.state.get(storage_of(tensor))

    def ancestors(self, node: int) -> set[int]:
        """The nodes that a node depends on, and itself."""
        found, stack = {node}, [node]
        while stack:
            new = self.parents[stack.pop()] - found
            found |= new
            stack.extend(new)
        return found

    def main_path(self, output: int) -> set[int]:
        """The nodes that every way from the example to the output runs through."""
        nodes = sorted(self.ancestors(output))
        reached = 0  # the furthest node that some edge from an earlier one leads to
        furthest = {node: node for node in nodes}
        for node in nodes:
            for parent in self.parents[node]:
                furthest[parent] = max(furthest[parent], node)
        main = set()
        for node in nodes:
            if reached <= node:
                main.add(node)
            reached = max(reached, furthest[node])
        return main


def storage_of(tensor: Tensor) -> int:
    """Which memory a tensor lies in."""
    return tensor.untyped_storage()._cdata


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for one in value:
            yield from _tensors(one)


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    """The tensors that an operation alters in place."""
    if not isinstance(func, torch._ops.OpOverload) or not func._schema.is_mutable:
        return
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from _tensors(args[position] if position < len(args) else kwargs.get(argument.name))
