"""What losses over all peers at once ask of their signals."""

from collections.abc import Sequence

from torch import Tensor, nn

from kd_lightning.errors import UserError


def check_all_at_once(loss: nn.Module, others: Sequence[Tensor] | Tensor) -> None:
    """UserError unless the others stand in a list."""
    if isinstance(others, Tensor):
        raise UserError(
            f"signals: {type(loss).__name__} takes a list of all others at once, as peers.logits are; put the signal "
            "of one network in a list"
        )
