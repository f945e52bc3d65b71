"""What a model costs: parameters, operations, time."""

import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kd_lightning.taps import evaluating

WARM_UP = 3


@dataclass(frozen=True)
class Profile:
    """`flops` of one input, a multiply-add counted as 2; `latency_ms` of one input, the median of the repeats."""

    params: int
    flops: int
    latency_ms: float


def profile_model(model: nn.Module, example: Tensor, repeats: int = 20) -> Profile:
    """Profile `model` on the first entry of the batch `example` (B, …), in eval mode, on the device the model is on.

    Only convolutions, matrix products and attention count as operations, as is usual; a multiply-add counts as 2, so
    papers that count multiply-adds give half of this. The model is left as it was, its modules' modes too.
    """
    device = next(model.parameters(), example).device
    one = example[:1].to(device)
    with evaluating(model), torch.no_grad():
        flops = count_flops(model, one)
        latency_ms = time_forward(model, one, repeats)
    return Profile(params=sum(p.numel() for p in model.parameters()), flops=flops, latency_ms=latency_ms)


def count_flops(model: nn.Module, inputs: Tensor) -> int:
    """Operations of one forward, the same on every device."""
    fused_attention = torch.backends.mha.get_fastpath_enabled()
    # Fused and compiled code hides its matrix products from the counter.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        counter = FlopCounterMode(display=False)
        with torch.compiler.set_stance("force_eager"), sdpa_kernel(SDPBackend.MATH), counter:
            model(inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused_attention)
    return counter.get_total_flops()


def time_forward(model: nn.Module, inputs: Tensor, repeats: int) -> float:
    """Median milliseconds of one forward, after a warm-up."""
    seconds = []
    for _ in range(WARM_UP + repeats):
        _synchronize(inputs.device)
        start = time.perf_counter()
        model(inputs)
        _synchronize(inputs.device)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[WARM_UP:])


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
