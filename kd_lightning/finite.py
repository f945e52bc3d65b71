"""Whether tensors are finite, asked without waiting for the device, or once for all of them."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError


def nan_if_any_nonfinite(gradients: Iterable[Tensor]) -> Tensor:
    """0 where all gradients are finite, else NaN; 0-d, on the device."""
    kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for gradient in gradients:
        kinds.setdefault((gradient.device, gradient.dtype), []).append(gradient)
    found = []
    for (device, dtype), alike in kinds.items():
        if device.type not in ("cpu", "cuda") or dtype.is_complex:
            found.append((~torch.stack([gradient.isfinite().all() for gradient in alike]).all()).float())
            continue
        seen, one = torch.zeros((), device=device), torch.ones((), device=device)
        # What a gradient scaler uses: one kernel for all, which multiplies by 1 here. Norms take ten times as long.
        torch._amp_foreach_non_finite_check_and_unscale_(alike, seen, one)
        found.append(seen)
    total = found[0] if len(found) == 1 else torch.stack([seen.to(found[0].device) for seen in found]).amax()
    return nan_if(total > 0)


def nan_if(wrong: Tensor) -> Tensor:
    return torch.where(wrong, math.nan, 0.0)


def is_wrong(logits: Tensor) -> Tensor:
    """Which rows of logits (B, …) hold NaN or +inf, which have no softmax: bool (B,). −inf masks a class."""
    return ~(logits < math.inf).flatten(1).all(dim=1)


def nonfinite_names(tensors: Mapping[str, Any]) -> list[str]:
    """The names of the floating-point tensors that are not finite."""
    floating = {name: x for name, x in tensors.items() if isinstance(x, Tensor) and x.is_floating_point()}
    if not floating:
        return []
    home = next(iter(floating.values())).device
    finite = torch.stack([x.detach().isfinite().all().to(home) for x in floating.values()])
    return [name for name, is_finite in zip(floating, finite.tolist(), strict=True) if not is_finite]


def refuse_nonfinite(network: nn.Module, key: str) -> None:
    """Raise UserError for a network whose weights are not finite; a buffer may hold −inf, as masks do."""
    tensors = {name: x.detach() for name, x in network.state_dict(keep_vars=True).items()}
    buffers = {name for name, _ in network.named_buffers()}
    names = [n for n in nonfinite_names(tensors) if n not in buffers or not bool((tensors[n] < math.inf).all())]
    if names:
        raise UserError(f"{key}: {listed(names)} not finite; give weights of a training that did not diverge")


def listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
