"""What frozen sources answer to all training samples as they are, before a training begins."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.trainer.states import RunningStage
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from kd_lightning.batch import KNOWN, Batch, as_batch
from kd_lightning.curricula.curriculum import Question, Samples
from kd_lightning.data import ImageDataModule
from kd_lightning.data.augmentation.in_order import plain_view
from kd_lightning.data.batches import FixedBatches, ImageSet, batched_loader
from kd_lightning.data.derived.content import pieces
from kd_lightning.data.derived.peek import seeded
from kd_lightning.errors import UserError
from kd_lightning.ranks import gathered
from kd_lightning.signals import Signal, read, requested
from kd_lightning.sources import Source
from kd_lightning.sources.cached import cached_in

LOOKED_AT = 4  # samples of a data set that are read twice
Make = Callable[[], Tensor]
Keep = Callable[[Question, Mapping[str, Source], Sequence[str], str, Make], Tensor]
"""Finds answers to a question that these sources gave before, or makes them; texts tell how they are rounded, and of
which part of the data they are."""


class AnswersToAll:
    """Asks a training's frozen sources about all samples of a `part` of its data, not augmented, without gradient.

    Each rank asks about its part, and all have all answers. What a cached source has of the samples as they are is not
    asked again. `keep` finds what was asked before; in a rehearsal a batch stands for all.

    Raises UserError for a source that changes with the training, and for a data set that never gives a sample twice
    alike.
    """

    def __init__(
        self,
        trainer: Trainer,
        loader: DataLoader[Any],
        sources: Mapping[str, Source],
        keep: Keep | None = None,
        *,
        rehearses: bool = False,
        part: str = "training",
    ) -> None:
        self.trainer, self.loader, self.sources = trainer, loader, sources
        self.keep, self.rehearses, self.part = keep, rehearses, part
        self.data = trainer.datamodule  # type: ignore[attr-defined]

    def __call__(self, question: Question) -> Tensor:
        """(N, …), in the order of the samples, on the training's device."""
        names = {signal.source for name in question.asks if (signal := read(name)) is not None}
        asked = {name: self.sources[name] for name in sorted(names)}
        for name, source in asked.items():
            if source.trained or source.changes:
                raise UserError(
                    f"curriculum.asks={', '.join(question.asks)}: is asked once, before the training, and that changes "
                    f"the {name}; take what is observed as it goes, such as curriculum/difficulty=student_loss"
                )
        view = self.view_as_they_are() if any(cached_in(source) for source in asked.values()) else None
        own = getattr(question, "data", None)
        if self.keep is None or self.rehearses or own is not None:
            return self.answered(question, asked, view, own)
        rounded = (
            []
            if view is None
            else [repr(one.answers.encoding) for source in asked.values() for one in cached_in(source)]
        )
        found = self.keep(question, asked, rounded, self.part, lambda: self.answered(question, asked, view, None))
        return found.to(self.trainer.strategy.root_device)

    def view_as_they_are(self) -> int | None:
        """The view by which answers to images that are not augmented are kept; None where there is none."""
        images = self.loader.dataset
        if self.part != "training":  # whose index may mean other images
            return None
        if not isinstance(images, ImageSet) or not isinstance(self.data, ImageDataModule) or images.mixing is not None:
            return None
        if getattr(images.images, "crops", False):  # every view is a crop, cut out as the file is decoded
            return None
        return plain_view(self.data.augment)

    def answered(
        self, question: Question, sources: Mapping[str, Source], view: int | None, own: Dataset[Any] | None
    ) -> Tensor:
        data: Any = self.loader.dataset if own is None else own
        count = len(data)
        if len(self.loader.dataset) != count:  # type: ignore[arg-type]
            raise UserError(
                f"curriculum.difficulty.data={type(own).__name__}: has {count} samples, and the training set "
                f"{len(self.loader.dataset)}; give the same ones in the same order"  # type: ignore[arg-type]
            )
        world, rank = self.trainer.world_size, self.trainer.global_rank
        mine = torch.arange(count).tensor_split(1 if self.rehearses else world)[0 if self.rehearses else rank]
        values = []
        with self.as_in_validation():
            for batch in self.batches(data, mine):
                values.append(question.value(self.signals(batch, question.asks, sources, view)).detach())
                if self.rehearses:
                    return values[0][torch.arange(count, device=values[0].device) % len(values[0])]
        return gathered({"values": torch.cat(values)})["values"]

    @contextmanager
    def as_in_validation(self) -> Iterator[None]:
        """Batches are moved, and whoever augments by the trainer's stage does not, as in validation."""
        state = self.trainer.state
        stage, state.stage = state.stage, RunningStage.VALIDATING
        try:
            with torch.no_grad():
                yield
        finally:
            state.stage = stage

    def batches(self, data: Any, mine: Tensor) -> Iterator[Any]:
        """The samples at these positions, not augmented, in batches. Raises UserError for such as never come again."""
        if isinstance(data, ImageSet):
            sampler: Any = self.loader.sampler
            size = getattr(self.data, "eval_batch_size", None) or sampler.batch_size
            plain = replace(data, rows=data.rows[mine], num_views=None, strong=None, mixing=None)
            yield from batched_loader(plain, FixedBatches(plain, size, shuffle=False), self.loader.num_workers, False)
            return
        for position in mine[:LOOKED_AT].tolist():
            if digest_of(data, position, 0) != digest_of(data, position, 1):
                raise UserError(
                    f"curriculum.difficulty: is told of samples as they are, and the {self.part} set gives each "
                    "otherwise every time, augmented perhaps; give it the same samples without, as the argument data"
                    " of the difficulty, or choose one that is observed in training, such as student_loss"
                )
        yield from DataLoader(
            Subset(data, mine.tolist()),
            batch_size=self.loader.batch_sampler.batch_size,  # type: ignore[union-attr]
            collate_fn=self.loader.collate_fn,
            num_workers=self.loader.num_workers,
            worker_init_fn=self.loader.worker_init_fn,
            multiprocessing_context=self.loader.multiprocessing_context,
        )

    def signals(
        self, batch: Any, names: Sequence[str], sources: Mapping[str, Source], view: int | None
    ) -> Mapping[str, Tensor]:
        """Those of a batch by these names, in float32. Raises UserError for one that it lacks."""
        strategy, precision = self.trainer.strategy, self.trainer.precision_plugin
        before = batch
        given = as_batch(strategy.batch_to_device(precision.convert_input(batch), dataloader_idx=0))
        if view is not None:
            given |= known_of({**before, "view": torch.full_like(before["index"], view)}, sources, strategy.root_device)
        found: dict[str, Tensor] = {}
        with precision.forward_context():
            for name, source in sources.items():
                for input in requested(name, names):
                    answers = source(given, input)
                    found |= {str(Signal(name, tap, input)): value for tap, value in answers.items()}
        found |= {name: given[name] for name in names if name in given}
        for name in names:
            if name not in found:
                raise UserError(f"curriculum.asks={name}: the batch has no such signal; it gives {', '.join(given)}")
        taken = {name: found[name] for name in names}
        return {name: value.float() if value.is_floating_point() else value for name, value in taken.items()}


def answered(samples: Samples, answers: AnswersToAll, validation: DataLoader[Any] | None) -> Samples:
    """Samples whose questions these answer, and a validation loader's about those of validation."""
    found = samples._replace(answers=answers)
    if samples.validation is None or validation is None:
        return found
    others = (answers.trainer, validation, answers.sources, answers.keep)
    theirs = AnswersToAll(*others, rehearses=answers.rehearses, part="validation")
    return found._replace(validation=samples.validation._replace(answers=theirs))


def known_of(batch: Batch, sources: Mapping[str, Source], device: torch.device) -> Batch:
    """What cached sources know of a batch on the CPU, on a device."""
    for source in sources.values():
        batch = source.before_transfer(batch)
    known = {name: value for name, value in batch.items() if name.startswith(KNOWN) or name == "view"}
    moved: Batch = move_data_to_device(known, device)
    return moved


def digest_of(data: Any, position: int, seed: int) -> bytes:
    """What a data set gives at a position, with random numbers of a seed."""
    with seeded(seed):
        return b"|".join(pieces(data[position]))
