"""Reading activations by name, with hooks that only observe."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kd_lightning.batch import Input, call
from kd_lightning.errors import UserError
from kd_lightning.models.dry_run import dry_run
from kd_lightning.taps.address import Address, find_module, first_tensor, parameter_of, parse_address, to_layout
from kd_lightning.taps.outputs import is_own_output, logits_of


class _Record:
    """What the hooks of one reader saw in the run under way."""

    def __init__(self) -> None:
        self.active = False
        self.values: dict[str, Tensor] = {}
        self.versions: dict[str, int] = {}

    def clear(self) -> None:
        self.active = False
        self.values = {}
        self.versions = {}


class _Hook:
    """Notes one tensor under a tap's name; a copy of it, in a copied or pickled model, notes nothing."""

    def __init__(self, name: str = "", record: _Record | None = None) -> None:
        self.name = name
        self.record = record

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()

    @property
    def is_reading(self) -> bool:
        return self.record is not None and self.record.active

    def note(self, value: Any) -> None:
        record = self.record
        if record is None or not record.active:
            return
        tensor = first_tensor(value)
        if tensor is None:
            return
        record.values[self.name] = tensor
        # A graph under compilation and inference mode keep no versions.
        if not torch.compiler.is_compiling() and not tensor.is_inference():
            record.versions[self.name] = tensor._version


class _OutputHook(_Hook):
    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.note(output)


class _InputHook(_Hook):
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        value = args[0] if args else next(iter(kwargs.values()), None)
        if isinstance(value, Tensor) and getattr(module, "inplace", False) and self.is_reading:
            value = value.clone()
        self.note(value)


class TapReader:
    """Runs a model once and returns the activations of the named taps.

    The hooks sit on the model until `remove()`; outside of a call of this reader they note nothing, and after it they
    hold nothing. Attach them before the model is compiled: a compiled model runs no hook that came later.

    A module called several times in a run gives what its last call gave. What enters an in-place activation is copied.
    Any other activation that the model alters in place after its tap (an in-place ReLU behind a tapped batch
    normalisation) would hold the altered values; that is an error wherever the tensors keep versions, which those of
    `torch.inference_mode` and of compiled graphs do not.

    A copy or a pickle of the reader comes with its model and has hooks of its own; a copy of the model alone has none
    that act.

    Args:
        model: any module.
        taps: names and addresses, as `find_taps` gives them.
        owner: whose taps they are, such as `student`, for messages.
        num_classes: tells the logits among several outputs; see `logits_of`.

    Examples:
        >>> import torch
        >>> from kd_lightning.models import create_model
        >>> from kd_lightning.taps import TapReader
        >>> reader = TapReader(create_model("resnet8x4", num_classes=100), {"logits": "", "stage3": "layer3"})
        >>> {name: tuple(value.shape) for name, value in reader(torch.rand(1, 3, 32, 32)).items()}
        {'logits': (1, 100), 'stage3': (1, 256, 8, 8)}
    """

    def __init__(
        self, model: nn.Module, taps: Mapping[str, str], owner: str = "", num_classes: int | None = None
    ) -> None:
        self.model = model
        self.taps = dict(taps)
        self.owner = owner
        self.num_classes = num_classes
        with taps_of(owner):
            self._addresses = {name: parse_address(name, address) for name, address in taps.items()}
            self._modules = {name: find_module(model, name, address) for name, address in self._addresses.items()}
        self._record = _Record()
        self._handles = [self._attach(name, module) for name, module in self._modules.items() if self._is_hooked(name)]

    def __call__(self, input: Input) -> dict[str, Tensor]:
        record = self._record
        record.active = True
        try:
            output = call(self.model, input)
            with taps_of(self.owner):
                return {name: self._value(name, address, output) for name, address in self._addresses.items()}
        finally:
            record.clear()

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def __reduce__(self) -> tuple[type["TapReader"], tuple[nn.Module, dict[str, str], str, int | None]]:
        return type(self), (self.model, self.taps, self.owner, self.num_classes)

    def _is_hooked(self, name: str) -> bool:
        """All but parameters, and the model's own output, which a run returns."""
        address = self._addresses[name]
        return not address.parameter and not is_own_output(address)

    def _attach(self, name: str, module: nn.Module) -> RemovableHandle:
        if self._addresses[name].is_input:
            return module.register_forward_pre_hook(_InputHook(name, self._record), with_kwargs=True)
        return module.register_forward_hook(_OutputHook(name, self._record))

    def _value(self, name: str, address: Address, output: Any) -> Tensor:
        if address.parameter:
            return parameter_of(self._modules[name], name, address)
        if not self._is_hooked(name):
            return to_layout(name, address, logits_of(self.model, output, self.num_classes))
        value = self._record.values.get(name)
        if value is None:
            raise UserError(
                f"taps.{name}={address}: the module {address.path!r} gave no tensor in this run; "
                "tap a module that the model calls"
            )
        if self._record.versions.get(name, None) not in (None, _version(value)):
            raise UserError(
                f"taps.{name}={address}: the model alters this activation in place after the tap; "
                "tap the module that does so, such as the in-place ReLU"
            )
        return to_layout(name, address, value)


def _version(value: Tensor) -> int | None:
    return None if value.is_inference() else value._version


@contextmanager
def taps_of(owner: str) -> Iterator[None]:
    """Say whose taps they are in an error about one. Raises UserError."""
    try:
        yield
    except UserError as error:
        whose = f"{owner}_" if owner and str(error).startswith("taps.") else ""
        raise UserError(f"{whose}{error}") from error


def tap_values(
    model: nn.Module, example: Input, taps: Mapping[str, str], num_classes: int | None = None
) -> dict[str, Tensor]:
    """The value of each tap for an example.

    Examples:
        >>> import torch
        >>> from kd_lightning.taps import tap_values
        >>> network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> sorted(tap_values(network, torch.rand(1, 4), {"logits": "", "hidden": "1"}))
        ['hidden', 'logits']
    """
    reader = TapReader(model, taps, num_classes=num_classes)
    try:
        with dry_run(model, example):
            return reader(example)
    finally:
        reader.remove()


def shapes_of(values: Mapping[str, Tensor], taps: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """The shapes of these values of taps, without the batch dimension; of a parameter its own shape.

    Examples:
        >>> import torch
        >>> from kd_lightning.taps import shapes_of
        >>> shapes_of({"logits": torch.rand(8, 10), "bias": torch.rand(10)}, {"logits": "", "bias": "fc:bias"})
        {'logits': (10,), 'bias': (10,)}
    """
    is_activation = {name: not parse_address(name, address).parameter for name, address in taps.items()}
    return {name: tuple(value.shape[is_activation[name] :]) for name, value in values.items()}
