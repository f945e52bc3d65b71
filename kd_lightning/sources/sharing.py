"""Whether networks that are to stay apart share a module, a parameter or a buffer."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from kd_lightning.errors import UserError

COPY = "give a copy, as copy.deepcopy makes one"


def check_apart(name: str, one: Any, other_name: str, other: nn.Module) -> None:
    """UserError where `one`, a network or whatever holds some, shares anything with the network `other`."""
    others = {**{id(part): path for path, part in other.named_modules() if _counts(part)}, **_memory(other)}
    for held in _networks(one, set()):
        if held is other:
            raise UserError(f"{name}={type(held).__name__}: is the {other_name} itself; {COPY}")
        modules = {id(part): path for path, part in held.named_modules() if _counts(part)}
        shared = next((key for key in (*modules, *_memory(held)) if key in others), None)
        if shared is not None:
            path = others[shared] or type(other).__name__
            raise UserError(f"{name}={type(held).__name__}: shares {path} with the {other_name}; {COPY}")


def check_all_apart(networks: Mapping[str, nn.Module], others: Mapping[str, nn.Module]) -> None:
    """UserError where a network shares anything with another, or one of the others with a network.

    They are by what messages call them. The others may share among themselves: they never change.
    """
    before: dict[str, nn.Module] = {}
    for name, network in networks.items():
        for other_name, other in before.items():
            check_apart(name, network, other_name, other)
        before[name] = network
    for name, one in others.items():
        for other_name, other in networks.items():
            check_apart(name, one, other_name, other)


def check_terms_apart(
    terms: Mapping[str, Any],
    learners: Mapping[str, nn.Module],
    others: Mapping[str, nn.Module],
    key: str = "terms",
) -> None:
    """UserError for a part of a term that holds a network which is trained beside it, or which it would itself train.

    Networks are by the names of their sources; `key` is what the terms are in.
    """
    for name, term in terms.items():
        weights = term.sample_weight
        parts = {
            "loss": term.loss,
            "projector": _held_by(term.projector),
            "sample_weight": weights if isinstance(weights, nn.Module) else None,  # what is none is called as it is
        }
        for part, holder in parts.items():
            is_trained = any(p.requires_grad for held in _networks(holder, set()) for p in held.parameters())
            for source, network in {**learners, **(others if is_trained else {})}.items():
                check_apart(f"{key}.{name}.{part}", holder, source, network)


def _held_by(projector: Any) -> Any:
    """What a function that makes a projector brings along."""
    if isinstance(projector, partial):
        return [projector.func, *projector.args, *projector.keywords.values()]
    return [cell.cell_contents for cell in getattr(projector, "__closure__", None) or ()] or projector


def _networks(holder: Any, seen: set[int]) -> Iterator[nn.Module]:
    """The modules in an object: itself, or those in a list, a mapping or an attribute of it."""
    if id(holder) in seen:
        return
    seen.add(id(holder))
    if isinstance(holder, nn.Module):
        yield holder
        for part in holder.modules():  # what stands in a plain list is no child
            values = [value for value in vars(part).values() if isinstance(value, (list, tuple, dict))]
            for value in values:
                if value is not part._modules:
                    yield from _networks(value, seen)
    elif isinstance(holder, Mapping):
        for value in holder.values():
            yield from _networks(value, seen)
    elif isinstance(holder, (list, tuple)):
        for value in holder:
            yield from _networks(value, seen)


def _counts(part: nn.Module) -> bool:
    """Whether it matters that two networks share a module: not of a layer without state or mode, such as an nn.ReLU."""
    is_plain = type(part).__module__.startswith("torch.nn.modules.") and not isinstance(part, (_DropoutNd, nn.RReLU))
    return not is_plain or next(part.children(), None) is not None or any(True for _ in _tensors(part, recurse=False))


def _tensors(network: nn.Module, recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
    yield from network.named_parameters(recurse=recurse)
    yield from network.named_buffers(recurse=recurse)


def _memory(network: nn.Module) -> dict[int, str]:
    """Parameters and buffers by identity, and by where they lie, with their names."""
    found: dict[int, str] = {}
    for name, tensor in _tensors(network):
        found[id(tensor)] = name
        if not nn.parameter.is_lazy(tensor) and not tensor.is_meta and tensor.numel():
            found[-tensor.data_ptr()] = name
    return found
