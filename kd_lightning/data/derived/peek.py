"""A look at the first training batch, which leaves loaders and random numbers as they were."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader

from kd_lightning.batch import Batch, as_streams, size_of
from kd_lightning.data.data import DataModule
from kd_lightning.errors import UserError

EXAMPLES = 2  # samples of an example: batch normalisation takes no single one


def first_batches(data: DataModule, key: str) -> dict[str, Batch]:
    """The first training batch of each stream, on the CPU, as its hooks make it; one of no name where there are none.

    Raises UserError for a loader that gives nothing, or gives it once, and for whatever the user's class raises.
    """
    try:
        data.prepare_data()
        data.setup()
        with seeded(0):
            given = data.train_dataloader()
            loader = given if isinstance(given, CombinedLoader) else CombinedLoader(given, "max_size_cycle")
            for one in loader.flattened:
                if isinstance(one, Iterator):
                    raise UserError(
                        f"{key}: train_dataloader gives an iterator, which is over after an epoch; give a loader, or "
                        "anything else that begins anew"
                    )
            with unmoved(loader):
                found = next(iter(loader), None)
                loader.reset()
            if found is None:
                raise UserError(f"{key}: train_dataloader gives no batch")
            batch = data.on_after_batch_transfer(data.on_before_batch_transfer(found[0], 0), 0)
            return as_streams(batch)
    except (UserError, OSError):
        raise
    except Exception as error:  # whatever the user's class raises
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"{key}: cannot be read: {reason}; mend it") from error


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers on the CPU from this seed; they go on afterwards as if nothing had been drawn."""
    with isolate_rng(include_cuda=False):
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        yield


@contextmanager
def unmoved(loader: CombinedLoader) -> Iterator[None]:
    """Loaders read in this process; their generators are afterwards as they were."""
    states, workers = {}, {}
    for one in loader.flattened:
        for generator in generators_of(one):
            states[generator] = generator.get_state()
        if isinstance(one, DataLoader):
            workers[one] = one.num_workers, one.timeout, one.persistent_workers
            vars(one).update(num_workers=0, timeout=0, persistent_workers=False)
    try:
        yield
    finally:
        for generator, state in states.items():
            generator.set_state(state)
        for one, (number, timeout, persistent) in workers.items():
            vars(one).update(num_workers=number, timeout=timeout, persistent_workers=persistent)


def generators_of(loader: object) -> Iterator[torch.Generator]:
    """The generators that a loader and its samplers draw an epoch's order from."""
    batches = getattr(loader, "batch_sampler", None)
    for part in (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)):
        generator = getattr(part, "generator", None)
        if isinstance(generator, torch.Generator):
            yield generator


def as_example(batch: Batch) -> Batch:
    """The first samples of a batch, as far as all that is in it is by sample."""
    samples = size_of(batch)
    if samples <= EXAMPLES or not all(len(value) == samples for value in tensors_in(batch)):
        return batch
    return {name: first_of(value) for name, value in batch.items()}


def first_of(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: first_of(inner) for name, inner in value.items()}
    return value[:EXAMPLES] if isinstance(value, Tensor) else value


def tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from tensors_in(inner)
    elif isinstance(value, Tensor):
        yield value if value.ndim else value[None]
