"""The mathematics of the losses: pure functions of tensors, by family, all reachable as `functional.NAME`.

Shapes: B batch, C classes or channels, H and W height and width, N tokens.
"""

from kd_lightning.losses.functional.features import attention_transfer, fitnet
from kd_lightning.losses.functional.logits import cross_entropy, kd, mean_squared_logits

__all__ = ["attention_transfer", "cross_entropy", "fitnet", "kd", "mean_squared_logits"]
