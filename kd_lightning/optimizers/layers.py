"""The layers of a network, from its input to its output, as layer-wise learning rates count them."""

from collections.abc import Iterator

from torch import nn

CONTAINERS = (nn.Sequential, nn.ModuleList)
MOST = 0.9  # of the parameters of what is hardly more than a list of blocks


def size_of(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def layers_of(network: nn.Module) -> dict[str, int]:
    """The layer of each parameter by its name; the first one is 0.

    Models of timm say it themselves. Of others a layer is a block: what stands in a `Sequential` or a `ModuleList`, at
    whatever depth of these, and any part beside them, unless it holds more than half of the network or is hardly more
    than such a list. Normalisations, and whatever else has vectors alone, belong to the layer before; parameters of
    the network itself, as tokens, to the first.

    Examples:
        >>> import torch
        >>> from kd_lightning.optimizers.layers import layers_of
        >>> layers_of(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 3)))
        {'0.weight': 0, '0.bias': 0, '1.weight': 0, '1.bias': 0, '2.weight': 1, '2.bias': 1}
    """
    matcher = getattr(network, "group_matcher", None)
    if callable(matcher):
        from timm.models import group_parameters

        by_timm: dict[str, int] = group_parameters(network, matcher(coarse=False), reverse=True)
        return by_timm
    found: dict[str, int] = {}
    layer, is_begun = 0, False
    for path in _blocks(network, "", size_of(network)):
        own = {f"{path}.{name}": weight for name, weight in network.get_submodule(path).named_parameters()}
        has_matrices = any(weight.ndim > 1 for weight in own.values())
        layer += has_matrices and is_begun
        is_begun |= has_matrices
        found.update(dict.fromkeys(own, layer))
    return {name: found.get(name, 0) for name, _ in network.named_parameters(remove_duplicate=False)}


def _blocks(module: nn.Module, path: str, total: int, *, is_contained: bool = False) -> Iterator[str]:
    """The paths of the blocks, in the order in which they are defined."""
    for name, child in module.named_children():
        place = f"{path}.{name}" if path else name
        size, is_container = size_of(child), isinstance(child, CONTAINERS)
        listed = max((size_of(part) for part in child.children() if isinstance(part, CONTAINERS)), default=0)
        has_children = next(child.children(), None) is not None
        holds_blocks = has_children and (size > total / 2 or listed > MOST * size)
        if is_container or (holds_blocks and not is_contained):
            yield from _blocks(child, place, total, is_contained=is_contained or is_container)
        elif size:
            yield place
