"""A network traced by torch.export, for batches of any size; what cannot be traced is named with its module."""

import io
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from kd_lightning.errors import UserError
from kd_lightning.exporting.alone import BATCH, Alone

FIXED = re.compile(r"specialized it to be a constant|Constraints violated|Not all values of " + BATCH)
DECIDES = re.compile(r"data-dependent")
REMEDY = "change it, or give the module as a class of your own"


def traced(alone: Alone, inputs: Sequence[Tensor], key: str) -> ExportedProgram:
    """The program of a network, from an example of two samples or more. Raises UserError in the words of `key`.

    One sample alone would be taken for a constant.
    """
    assert all(len(one) > 1 for one in inputs)
    with quiet(), inside(alone) as path:
        try:
            shapes = {"inputs": shapes_of(alone, inputs)}
            return torch.export.export(alone, tuple(inputs), dynamic_shapes=shapes, strict=False)
        except UserError:
            raise
        except Exception as error:  # whatever a network of the user's own does
            reason = first_line(error)
            if FIXED.search(str(error)):
                raise UserError(
                    f"{key}: the network fixes the size of a batch, such as by a reshape to a number; take the size "
                    "from its input's shape"
                ) from error
            if DECIDES.search(str(error)):
                reason = "it decides by the values of a tensor"
            raise UserError(f"{key}: {described(alone, path)} cannot be traced ({reason}); {REMEDY}") from error


def shapes_of(alone: Alone, inputs: Sequence[Tensor]) -> tuple[dict[int, Any], ...]:
    """The dimensions that may have any size: that of the samples has to, the length of a text (B, T) may be fixed.

    A dimension by its name stands beside no others in older versions of torch.
    """
    if alone.names is None:
        batch = Dim(BATCH, min=1)
        return tuple({0: batch} for _ in inputs)
    is_text = [one.ndim == 2 and not one.is_floating_point() for one in inputs]
    return tuple({0: Dim.DYNAMIC, **({1: Dim.AUTO} if text else {})} for text in is_text)


def dimensions(program: ExportedProgram) -> list[list[int | None]]:
    """The sizes of each input that a program takes, None where any will do."""
    given = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    taken = [given[name] for name in program.graph_signature.user_inputs]
    return [[size if isinstance(size, int) else None for size in one.shape] for one in taken]


@contextmanager
def inside(alone: Alone) -> Iterator[list[str]]:
    """The paths of the modules that run, the innermost last; where one raises, they stay as they were."""
    path: list[str] = []

    def enter(name: str) -> Any:
        return lambda *_: path.append(name)

    def leave(*_: Any) -> None:
        path.pop()

    handles = []
    for name, module in alone.network.named_modules():
        handles += [module.register_forward_pre_hook(enter(name), prepend=True), module.register_forward_hook(leave)]
    try:
        yield path
    finally:
        for handle in handles:
            handle.remove()


def described(alone: Alone, path: Sequence[str]) -> str:
    """The innermost of the modules that ran, with its class."""
    name = path[-1] if path else ""
    kind = type(alone.network.get_submodule(name)).__name__
    return f"module {name} ({kind})" if name else f"the network ({kind})"


def module_of(program: ExportedProgram, operator: str) -> str:
    """The module that has an operator run, such as `prims.bessel_j0`, with its class; nothing where it is not found.

    The program may have it under the name of what it was decomposed from, as `aten.special_bessel_j0`.
    """
    with quiet():
        graphs = (program.graph, program.run_decompositions().graph)
    nodes = [node for graph in graphs for node in graph.nodes]
    named = [node for node in nodes if str(node.target).startswith(operator)]
    named += [node for node in nodes if operator.rpartition(".")[2] in str(node.target)]
    for node in named:
        if stack := node.meta.get("nn_module_stack"):
            path, kind = [*stack.values()][-1]
            name = str(path).removeprefix("L['self'].").removeprefix("network").lstrip(".")
            kind = kind if isinstance(kind, str) else kind.__qualname__
            return f"module {name or 'of the network itself'} ({str(kind).rpartition('.')[2]})"
    return ""


def first_line(error: BaseException) -> str:
    """The first line of what an exception says that tells anything, at most 200 signs of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".;")


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing of what torch prints and logs as it traces."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
