"""Training loaders that give samples in the order which a curriculum draws."""

import copy
from collections.abc import Iterator, Mapping, Sized
from typing import Any, cast

import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from kd_lightning.curricula.curriculum import Samples
from kd_lightning.data.batches import ImageSet, ShardedBatches
from kd_lightning.data.derived.concepts import are_of_one_set, described
from kd_lightning.data.labels.balanced import BalancedBatches
from kd_lightning.errors import UserError

REPLACED = (RandomSampler, SequentialSampler, DistributedSampler)  # what `shuffle` makes, and Lightning of it


class DrawnOrder(Sampler[int]):
    """This rank's part of a drawn order, for a `DataLoader` that makes batches of it by itself.

    Ranks get equally many samples, for which the first ones may come again, as with torch's DistributedSampler.
    """

    def __init__(self, batch_size: int, drop_last: bool, world: int, rank: int) -> None:
        self.batch_size, self.drop_last = batch_size, drop_last
        self.num_replicas, self.rank = world, rank
        self.given: list[Tensor] = []  # what each batch of this rank holds, int64 (B,)
        self.over = 0  # batches to leave out of the next epoch, where a training is taken up within it

    def take(self, drawn: Tensor) -> None:
        """Have epochs hold these positions, int64 (N,) of all ranks together, in this order."""
        missing = -len(drawn) % self.num_replicas
        mine = torch.cat([drawn, drawn.repeat(missing // len(drawn) + 1)[:missing]])[self.rank :: self.num_replicas]
        batches = [*mine.split(self.batch_size)]
        self.given = batches[: len(mine) // self.batch_size] if self.drop_last else batches

    def __iter__(self) -> Iterator[int]:
        over, self.over = self.over, 0
        for batch in self.given[over:]:
            yield from batch.tolist()

    def __len__(self) -> int:
        return sum(map(len, self.given))


Order = ShardedBatches | DrawnOrder


def only_loader(loaders: CombinedLoader, name: str, overfits: bool = False) -> DataLoader[Any]:
    """The loader of a training. Raises UserError for one whose order is not to be given, naming the curriculum."""
    if overfits:
        reason = "are the same batches in every epoch (trainer.overfit_batches)"
    elif isinstance(loaders.iterables, Mapping):
        reason = f"come in several streams ({', '.join(map(str, loaders.iterables))})"
    elif len(loaders.flattened) > 1:
        reason = f"come from {len(loaders.flattened)} loaders"
    else:
        [loader] = loaders.flattened
        found = unordered(loader)
        if found is None:
            return cast("DataLoader[Any]", loader)
        reason = found
    raise UserError(
        f"curriculum={name}: draws samples by their position, and the training data {reason}; give one "
        "torch.utils.data.DataLoader of a data set with a length, without a sampler of its own, or no curriculum"
    )


def unordered(loader: object) -> str | None:
    """Why a loader's order is not to be given, or None."""
    if not isinstance(loader, DataLoader):
        return f"come from a {type(loader).__name__}"
    if isinstance(loader.dataset, IterableDataset):
        return f"are a stream, {type(loader.dataset).__name__}"
    if isinstance(loader.sampler, BalancedBatches):
        return "have a sampler of their own, data.sampler=balanced"
    if isinstance(loader.sampler, ShardedBatches | DrawnOrder):
        return None
    if type(loader.sampler) not in REPLACED:
        return f"have a sampler of their own, {type(loader.sampler).__name__}"
    if type(loader.batch_sampler) is not BatchSampler:
        kind = "none" if loader.batch_sampler is None else type(loader.batch_sampler).__name__
        return f"have a batch_sampler of their own, {kind}"
    return None


def order_of(loaders: CombinedLoader, name: str, world: int, rank: int) -> Order:
    """What gives the training's loader its order: its sampler, or a new one in a copy that takes the loader's place."""
    loader = only_loader(loaders, name)
    if isinstance(loader.sampler, ShardedBatches | DrawnOrder):
        return loader.sampler
    given = cast(BatchSampler, loader.batch_sampler)
    order = DrawnOrder(given.batch_size, given.drop_last, world, rank)
    ordered = copy.copy(loader)
    batches = BatchSampler(order, given.batch_size, given.drop_last)
    vars(ordered).update(sampler=order, batch_sampler=batches, _iterator=None)  # which no loader lets be set
    loaders.flattened = [ordered]
    return order


def samples_of(
    loader: DataLoader[Any], classes: bool, device: torch.device, module: Any = None, validation: Any = None
) -> Samples:
    """The samples of a loader: of other data than images what the data set has by these names, a value for each.

    `classes` says whether targets are classes, which are the concepts where the data have none. The data `module` and
    the loader of a `validation` are those of the training, where it has any.
    """
    data: Any = loader.dataset
    index = data.rows if isinstance(data, ImageSet) else torch.arange(len(data))
    target, concepts, difficulty = (values_of(data, name, len(index)) for name in ("targets", "concepts", "difficulty"))
    if concepts is None and classes and target is not None and not target.is_floating_point() and target.ndim == 1:
        concepts = target
    target, concepts, difficulty = (None if one is None else one.to(device) for one in (target, concepts, difficulty))
    named = described(data, module)._asdict()
    total = len(data.images.targets) if isinstance(data, ImageSet) else len(data)
    samples = Samples(index.to(device), target, concepts, difficulty, total=total, **named)
    validated = getattr(validation, "dataset", None)
    if not hasattr(validated, "__len__"):
        return samples
    return samples._replace(
        validation=samples_of(validation, classes, device, module), is_of_training=are_of_one_set(data, validated)
    )


def values_of(data: Any, name: str, count: int) -> Tensor | None:
    """A value of each sample, (N, …), or None where the data set has none by this name.

    A subset has those of its samples; the targets of two tensors are the second one.
    """
    if isinstance(data, Subset):
        whole = values_of(data.dataset, name, len(cast(Sized, data.dataset)))
        return None if whole is None else whole[torch.as_tensor(data.indices, device=whole.device)]
    given = getattr(data, name, None)
    if given is None and name == "targets" and isinstance(data, TensorDataset) and len(data.tensors) == 2:
        given = data.tensors[1]
    try:
        values = None if given is None else torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        return None
    return values if values is not None and values.ndim and len(values) == count else None
