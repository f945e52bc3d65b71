"""Checks of the layers that a loss is built on."""

from collections.abc import Sequence

from torch import Tensor

from kd_lightning.errors import UserError


def check_maps(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
    """UserError unless all layers are maps (B, C, H, W)."""
    for feature in (*student, *teacher):
        if feature.ndim != 4:
            raise UserError(
                f"signals={tuple(feature.shape[1:])}: this loss compares maps (C, H, W); name layers that give maps"
            )


def check_equal_channels(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
    """UserError unless the layers have the same channels, pair by pair."""
    channels, wanted = ([feature.shape[1] for feature in layers] for layers in (student, teacher))
    if channels != wanted:
        raise UserError(
            f"signals={channels} channels of the student, {wanted} of the teacher: this loss needs equal ones; "
            "choose a pair of equal widths, or name other layers"
        )
