"""One run of a model, recorded: which module ran when, and where its output lies in the flow of tensors."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from kd_lightning.batch import Input, call, first_tensor_of
from kd_lightning.taps.address import first_tensor, parse_address
from kd_lightning.taps.finding.flow import Flow, storage_of
from kd_lightning.taps.outputs import is_own_output, logits_of


@dataclass(eq=False)
class Call:
    """One call of one module.

    Attributes:
        path: the module's dotted path.
        children: the calls made directly by this one, in order.
        shape: of its output, empty where that is no tensor.
        input_shape: of its first argument.
        input_node: the first argument's state in the flow of tensors, or None where it does not depend on the example.
        node: the output's state in the flow of tensors, or None where the output does not depend on the example.
        storage: which memory the output lies in.
    """

    path: str
    module: nn.Module
    input_shape: tuple[int, ...]
    input_node: int | None = None
    children: list["Call"] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    node: int | None = None
    storage: int = 0

    @property
    def is_weighted(self) -> bool:
        """Whether this is a single layer with a weight matrix or kernel: a convolution, a linear layer."""
        return not self.children and any(weight.ndim > 1 for weight in self.module.parameters(recurse=False))

    def descendants(self) -> Iterator["Call"]:
        """All calls made by this one, directly or not, in the order in which they ended."""
        for child in self.children:
            yield from child.descendants()
            yield child

    def layers(self) -> list["Call"]:
        """The layers with weight matrices in it, or itself where it is one."""
        return [call for call in (*self.descendants(), self) if call.is_weighted]


@dataclass
class Trace:
    """A recorded run."""

    root: Call
    flow: Flow
    main: set[int]
    example_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        self.calls = [*self.root.descendants(), self.root]
        self.last = {call.path: call for call in self.calls}

    def is_main(self, call: Call) -> bool:
        return call.node in self.main

    def is_tappable(self, call: Call) -> bool:
        """Whether a hook on the module would hold this output after the run."""
        return self.last[call.path] is call and self.flow.state.get(call.storage) == call.node


def record(model: nn.Module, example: Input, logits: str = "", num_classes: int | None = None) -> Trace | None:
    """Run a model once; None where its logits depend in no traceable way on the example.

    `logits` is the address of these; of what the model returns, they are those that `logits_of` takes.
    """
    flow = Flow(example)
    shape = tuple(first_tensor_of(example).shape)
    root = Call("", model, shape)
    stack = [root]
    names = {module: name for name, module in model.named_modules()}

    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        value = first_tensor(args or list(kwargs.values()))
        call = Call(names[module], module, ())
        if value is not None:
            call.input_shape, call.input_node = tuple(value.shape), flow.node(value)
        stack[-1].children.append(call)
        stack.append(call)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        _finish(stack.pop(), output, flow)

    handles = [module.register_forward_pre_hook(enter, with_kwargs=True) for module in names if module is not model]
    handles += [module.register_forward_hook(leave) for module in names if module is not model]
    try:
        with flow:
            output = call(model, example)
    finally:
        for handle in handles:
            handle.remove()
    address = parse_address("logits", logits)
    if is_own_output(address):
        _finish(root, logits_of(model, output, num_classes), flow)
    else:
        end = next((call for call in reversed(list(root.descendants())) if call.path == address.path), root)
        root.shape, root.node, root.storage = end.shape, end.node, end.storage
    return None if root.node is None else Trace(root, flow, flow.main_path(root.node), shape)


def _finish(call: Call, output: Any, flow: Flow) -> None:
    tensor = first_tensor(output)
    if tensor is not None:
        call.shape, call.node, call.storage = tuple(tensor.shape), flow.node(tensor), storage_of(tensor)
