"""What an optimizer is made with beside its own arguments."""

from kd_lightning.optimizers.layer_decay import LayerDecay
from kd_lightning.optimizers.sharpness import SAM

__all__ = ["SAM", "LayerDecay"]
