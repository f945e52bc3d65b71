"""What an optimizer is made with beside its own arguments."""

from kd_lightning.optimizers.layer_decay import LayerDecay

__all__ = ["LayerDecay"]
