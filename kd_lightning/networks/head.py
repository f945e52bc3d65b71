"""A head for the data's classes, on a network of the user's own class that was made for others."""

import torch
from torch import Tensor, nn

from kd_lightning.batch import INPUT, Input, call
from kd_lightning.conversions import ReplaceHead, converted
from kd_lightning.errors import UserError
from kd_lightning.models.dry_run import dry_run


def with_head_for(network: nn.Module, example: Input, classes: int, key: str) -> nn.Module:
    """The network with a new head where its logits (B, C) are of another number of classes, else as it is.

    `key` is how an error names the network. Raises UserError where no layer can be replaced.
    """
    with dry_run(network, example):
        output: object = call(network, example)
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] in (1, classes):
        return network
    try:
        conversion = ReplaceHead(classes, seed=torch.initial_seed() % 2**32)
        return converted(network, conversion, [{INPUT: example}], {})[0]
    except UserError as error:
        reason = str(error).partition(": ")[2]
        raise UserError(f"{key}: of {output.shape[1]} classes, the data have {classes}, and it {reason}") from error
