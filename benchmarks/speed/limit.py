"""The arithmetic limit: what a training would reach if it multiplied as fast as a large product of matrices."""

import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from benchmarks.speed.settings import Pair
from benchmarks.speed.timing import Row, now
from kd_lightning.models import create_model
from kd_lightning.models.profile import count_flops

SIDE = {"cpu": 3072, "cuda": 8192}  # of the matrices, large enough for the device's best
REPEATS = 15


def shares(pair: Pair, rates: Mapping[str, list[float]], device: torch.device, where: str = "") -> list[Row]:
    """What part of the limit each variant reaches, of its own precision and with or without a teacher to ask."""
    dtypes = {name: torch.bfloat16 if "bf16" in name else torch.float32 for name in rates}
    multiplied = {dtype: matrix_rate(device, dtype) for dtype in {*dtypes.values()}}
    rows = []
    for name, samples in rates.items():
        limit = images_per_s(pair, multiplied[dtypes[name]], "cache" in name)
        reached = statistics.median(samples)
        what = f"{pair}{where}: {name}, of what matrix products would allow"
        rows.append(Row("limit", what, limit, reached, "images/s", reached / limit, {name: samples}))
    return rows


def images_per_s(pair: Pair, flops_per_s: float, cached: bool) -> float:
    """Of a training at this rate; a backward pass takes twice its forward, a cached teacher nothing."""
    return flops_per_s / (3 * flops(pair.student) + (0 if cached else flops(pair.teacher)))


def flops(model: str) -> int:
    """Operations for one of CIFAR-100's images, a multiply-add counted as 2."""
    return count_flops(create_model(model, 100, 3), torch.zeros(1, 3, 32, 32))


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a product of two square matrices, at its best, by the same units as convolutions."""
    side = SIDE[device.type]
    a, b = torch.rand(2, side, side, device=device, dtype=dtype)
    seconds = []
    with tf32_as_in_convolutions():
        for _ in range(REPEATS):
            began = now()
            torch.mm(a, b)
            seconds.append(now() - began)
    return 2 * side**3 / min(seconds)


@contextmanager
def tf32_as_in_convolutions() -> Iterator[None]:
    """Round float32 to TF32 in products of matrices on a GPU where convolutions do, which they do by default."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        matmul.allow_tf32 = before
