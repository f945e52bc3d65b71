"""Layer-wise learning rates: the nearer a layer is to the input, the less it changes."""

from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from typing import Any

from torch import nn
from torch.optim import Optimizer

from kd_lightning.errors import UserError
from kd_lightning.optimizers.layers import layers_of

LAYER = "layer"  # how names of groups begin


class LayerDecay:
    """Makes an optimizer whose learning rate is multiplied by a factor for each layer before the last: lr·d^(L-1-l).

    Clark et al. 2020, arXiv:2003.10555; for images Bao et al. 2022, arXiv:2106.08254. As there, vectors (biases,
    normalisations) and what a model of timm names in `no_weight_decay` are without weight decay. Parameters that are
    none of the network's, such as a projector's, keep the whole rate. See `layers_of` for what a layer is.

    Args:
        make: makes the optimizer from groups of parameters.
        decay: d, above 0 and at most 1, such as 0.75.

    Raises UserError for another decay.

    Examples:
        >>> from functools import partial
        >>> import torch
        >>> from kd_lightning import DistillationModule
        >>> from kd_lightning.models import create_model
        >>> from kd_lightning.optimizers import LayerDecay
        >>> optimizer = LayerDecay(partial(torch.optim.AdamW, lr=0.001), decay=0.5)
        >>> network = create_model("resnet8", num_classes=10)
        >>> sorted({group["lr"] for group in optimizer(network.parameters(), network).param_groups})
        [6.25e-05, 0.000125, 0.00025, 0.0005, 0.001]
        >>> module = DistillationModule(student=network, num_classes=10, optimizer=optimizer)
    """

    def __init__(self, make: Callable[..., Optimizer], decay: float) -> None:
        if isinstance(decay, bool) or not isinstance(decay, (int, float)) or not 0 < decay <= 1:
            raise UserError(f"layer_decay={decay}: must be above 0 and at most 1, such as 0.75; or null")
        self.make = make
        self.decay = decay

    def __call__(self, parameters: Iterable[nn.Parameter], network: nn.Module) -> Optimizer:
        """The optimizer of these parameters, of which the network's are told apart by their layers."""
        groups = self.groups(parameters, network)
        scales = [group.pop("scale") for group in groups]
        optimizer = self.make(groups)
        for group, scale in zip(optimizer.param_groups, scales, strict=True):
            group["lr"] = group["lr"] * scale
        return optimizer

    def groups(self, parameters: Iterable[nn.Parameter], network: nn.Module) -> list[dict[str, Any]]:
        """The groups of parameters by layer and weight decay, each with the `scale` of its learning rate."""
        trained = dict.fromkeys(parameters)
        layers = layers_of(network)
        last, spared = max(layers.values(), default=0), spared_in(network)
        found: dict[str, dict[str, Any]] = {}
        for name, weight in network.named_parameters():
            if weight not in trained:
                continue
            del trained[weight]
            layer = layers[name]
            has_decay = weight.ndim > 1 and not any(fnmatch(name, pattern) for pattern in spared)
            own = {"name": f"{LAYER}{layer}", "params": [], "scale": self.decay ** (last - layer)}
            if not has_decay:
                own = {**own, "name": f"{LAYER}{layer}_no_weight_decay", "weight_decay": 0.0}
            found.setdefault(str(own["name"]), own)["params"].append(weight)
        if trained:
            found["others"] = {"name": "others", "params": list(trained), "scale": 1.0}
        return list(found.values())


def is_layered(optimizer: Optimizer) -> bool:
    """Whether an optimizer has rates by layer."""
    return any(str(group.get("name")).startswith(LAYER) for group in optimizer.param_groups)


def spared_in(network: nn.Module) -> list[str]:
    """Patterns of the names of what a model wants without weight decay."""
    named: Any = getattr(network, "no_weight_decay", None)
    return list(named()) if callable(named) else []
