"""Networks of the user's own as everything here can work with them: in float32, with all their weights, as modules."""

from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from kd_lightning.batch import Input, call


class Scripted(nn.Module):
    """A TorchScript module inside an ordinary one, which can have hooks and further buffers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.network(*inputs, **named)


def ready(network: nn.Module, example: Input) -> nn.Module:
    """The network with lazy layers sized by an example, half or double precision as float32, TorchScript in a module.

    Weights are drawn as in the first forward; its statistics stay as they are.
    """
    if isinstance(network, torch.jit.ScriptModule):
        network = Scripted(network)
    if any(is_lazy(value) for value in (*network.parameters(), *network.buffers())):
        was_training = network.training
        with torch.no_grad():
            call(network.eval(), example)
        network.train(was_training)
    if any(value.is_floating_point() and value.dtype != torch.float32 for value in network.parameters()):
        network = network.float()
    return network
