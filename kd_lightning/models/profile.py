"""What a model costs: parameters, operations, time."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kd_lightning.batch import Input, call, first_tensor_of
from kd_lightning.models.dry_run import evaluating
from kd_lightning.models.resolution import as_seen

WARM_UP = 3


@dataclass(frozen=True)
class Profile:
    """What one input costs.

    `flops` counts a multiply-add as 2; `latency_ms` is the median over the repeats, `latency_iqr_ms` the distance of
    their quartiles.
    """

    params: int
    flops: int
    latency_ms: float
    latency_iqr_ms: float


def profile_models(models: Mapping[str, nn.Module], example: Input, repeats: int = 20) -> dict[str, Profile]:
    """Profile models beside each other on the first sample of the batch `example`, in eval mode.

    Only convolutions, matrix products and attention count as operations, as is usual; a multiply-add counts as 2, so
    papers that count multiply-adds give half of this. The models take turns while they are timed, each on the device
    it is on; of several with the same architecture one is timed for all. They are left as they were, their modules'
    modes too.
    """
    with torch.no_grad(), ExitStack() as stack:
        for model in models.values():
            stack.enter_context(evaluating(model))
        inputs = {name: first_sample(example, model) for name, model in models.items()}
        flops = {name: count_flops(model, inputs[name]) for name, model in models.items()}
        alike = {
            name: (architecture(model), flops[name], first_tensor_of(inputs[name]).device)
            for name, model in models.items()
        }
        timed = {kind: name for name, kind in alike.items()}
        times = time_in_turns([(models[name], inputs[name]) for name in timed.values()], repeats)
    milliseconds = dict(zip(timed, times, strict=True))
    return {
        name: Profile(
            params=sum(parameter.numel() for parameter in model.parameters()),
            flops=flops[name],
            latency_ms=float(np.median(milliseconds[alike[name]])),
            latency_iqr_ms=float(np.subtract(*np.percentile(milliseconds[alike[name]], [75, 25]))),
        )
        for name, model in models.items()
    }


def first_sample(example: Input, model: nn.Module) -> Input:
    """The first sample of a batch, where a model lies, at the size that it sees."""
    device = next(model.parameters(), first_tensor_of(example)).device
    if isinstance(example, Tensor):
        return as_seen(model, example[:1].to(device))  # what another program would resize is none of its cost
    return {name: value[:1].to(device) for name, value in example.items()}


def architecture(model: nn.Module) -> str:
    """What two models have in common that differ in their weights alone: their modules, and their tensors' shapes."""
    shapes = [f"{name} {tuple(value.shape)} {value.dtype}" for name, value in model.state_dict().items()]
    return "\n".join([repr(model), *shapes])


def count_flops(model: nn.Module, inputs: Input) -> int:
    """Operations of one forward, the same on every device."""
    fused_attention = torch.backends.mha.get_fastpath_enabled()
    # Fused and compiled code hides its matrix products from the counter.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        counter = FlopCounterMode(display=False)
        with torch.compiler.set_stance("force_eager"), sdpa_kernel(SDPBackend.MATH), counter:
            call(model, inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused_attention)
    return counter.get_total_flops()


def time_in_turns(models: list[tuple[nn.Module, Input]], repeats: int) -> list[list[float]]:
    """Milliseconds of each model's forwards, after a warm-up.

    The models alternate, so that whatever slows the machine meets all of them; a forward that is not timed comes
    before each, so that none pays for what another left in the processor's caches.
    """
    milliseconds: list[list[float]] = [[] for _ in models]
    for _ in range(WARM_UP + repeats):
        for (model, inputs), times in zip(models, milliseconds, strict=True):
            device = first_tensor_of(inputs).device
            call(model, inputs)
            _synchronize(device)
            start = time.perf_counter()
            call(model, inputs)
            _synchronize(device)
            times.append(1000 * (time.perf_counter() - start))
    return [times[WARM_UP:] for times in milliseconds]


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
