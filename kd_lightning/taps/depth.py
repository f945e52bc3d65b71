"""A network's modules by depth: up to the end of each stage, and its classifier."""

from collections.abc import Mapping

import torch
from torch import nn

from kd_lightning.batch import Input, call
from kd_lightning.errors import UserError
from kd_lightning.models.dry_run import dry_run
from kd_lightning.taps.address import parse_address
from kd_lightning.taps.finding.finding import find_taps

STAGE, HEADS = "stage", ("pooled", "logits_distilled")  # what enters the head, and a second one


def by_depth(
    network: nn.Module,
    example: Input,
    logits: str = "",
    num_classes: int | None = None,
    taps: Mapping[str, str] | None = None,
) -> list[list[nn.Module]]:
    """The modules of a network by how far from its input they begin: those of each stage, and last its classifier.

    What stands before the first stage is of that, what stands behind the last one is of the last. The stages are those
    of `find_taps`; a network without any has one. A module that no batch enters is where the one around it is.

    Args:
        network: any module.
        example: an input as the network gets it, on its device.
        logits: the address of the logits, where the output does not tell them.
        num_classes: tells the logits among several outputs.
        taps: stages that are named instead of those that are found.

    Raises UserError for a network whose logits are not given by one linear layer or 1x1 convolution.

    Examples:
        >>> import torch
        >>> from kd_lightning.models import create_model
        >>> from kd_lightning.taps import by_depth
        >>> network = create_model("resnet8", num_classes=10)
        >>> groups = by_depth(network, torch.rand(1, 3, 32, 32))
        >>> [len(group) for group in groups], groups[-1] == [network.fc]
        ([11, 10, 11, 1], True)
    """
    taps = {**find_taps(network, example, logits, num_classes), **(taps or {})}
    heads = [parse_address(tap, taps[tap]).path for tap in HEADS if tap in taps]
    if HEADS[0] not in taps or "" in heads:
        raise UserError(
            f"network={type(network).__name__}: its logits are not given by one linear layer or 1x1 convolution, so "
            "nothing tells its head"
        )
    entered = depths(network, example, stages_of(taps))
    named = dict(network.named_modules())
    last = max([1, *(place + 1 for place in entered.values())])
    groups: list[list[nn.Module]] = [[] for _ in range(last + 1)]
    found: dict[str, int] = {}
    for name, module in named.items():
        is_head = any(name == head or name.startswith(f"{head}.") for head in heads)
        found[name] = last if is_head else entered.get(module, found.get(name.rpartition(".")[0], 0))
        groups[found[name]].append(module)
    return groups


def stages_of(taps: Mapping[str, str]) -> list[str]:
    """The addresses of the stages, from input to output."""
    numbers = sorted(int(tap.removeprefix(STAGE)) for tap in taps if tap.removeprefix(STAGE).isdigit())
    return [taps[f"{STAGE}{number}"] for number in numbers]


def depths(network: nn.Module, example: Input, stages: list[str]) -> dict[nn.Module, int]:
    """How many stages, but for the last one, are over when a batch enters each module for the first time."""
    found: dict[nn.Module, int] = {}
    over: set[str] = set()
    handles = []

    def enter(module: nn.Module, *_: object) -> None:
        found.setdefault(module, len(over))

    for module in network.modules():
        handles.append(module.register_forward_pre_hook(enter))
    for stage in stages[:-1]:
        address = parse_address(STAGE, stage)
        module = network.get_submodule(address.path)
        ends = module.register_forward_pre_hook if address.is_input else module.register_forward_hook
        handles.append(ends(lambda *_, stage=stage: over.add(stage)))
    try:
        with dry_run(network, example), torch.no_grad():
            call(network, example)
    finally:
        for handle in handles:
            handle.remove()
    return found
