"""One device for each worker where jobs run in parallel on one machine."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kd_lightning.system.process import environment

VISIBLE = "CUDA_VISIBLE_DEVICES"


@contextmanager
def one_device() -> Iterator[None]:
    """In a worker of joblib, show one GPU alone: the workers take them in turn.

    Other launchers run one job a process, or have a scheduler that assigns devices.
    """
    number = worker_number(multiprocessing.current_process().name)
    if number is None or torch.cuda.device_count() < 2:
        yield
        return
    given = os.environ.get(VISIBLE)
    devices = given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]
    with environment(VISIBLE, devices[number % len(devices)]):
        yield


def worker_number(process_name: str) -> int | None:
    """Which worker of joblib this process is, from 0; None where it is none of them."""
    prefix, _, number = process_name.rpartition("-")
    return int(number) - 1 if prefix == "LokyProcess" and number.isdigit() else None
