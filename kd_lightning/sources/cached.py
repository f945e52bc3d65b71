"""A source that answers what it has answered before from a file."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from kd_lightning.batch import INPUT, KNOWN, Batch, as_batch
from kd_lightning.errors import UserError
from kd_lightning.sources.route import Route
from kd_lightning.sources.source import FrozenSource, Source
from kd_lightning.store import Answers

NUMBERS = itertools.count()  # one for each cache of this process: a batch may bring the answers of several


class CachedSource(FrozenSource):
    """Another source, asked only for the views that `answers` has no answer for; these are kept there.

    A training batch says by `index` and `view` what its inputs are. Looked up on the CPU, before the batch is moved, so
    that nothing waits for the device once all answers are there. Fresh answers are rounded as kept ones are: a training
    is the same whether its answers were there or not.

    Args:
        source: is asked for what is missing, and for inputs that are not views, such as those of a test.
        answers: logits (B, C), or with a `classifier` what it takes, `pooled` (B, D); of a `Route` each anchor's.
        classifier: the source's last layer, from `pooled` to its logits.

    Raises UserError for a source whose answers depend on their batch.
    """

    def __init__(
        self, source: FrozenSource, answers: Answers | Sequence[Answers], classifier: nn.Module | None = None
    ) -> None:
        super().__init__()
        if source.batch_statistics:
            raise UserError(
                "batch_statistics=True: an answer depends on the other images of its batch, and cannot be kept"
            )
        self.source = source
        self.of_each = [answers] if isinstance(answers, Answers) else list(answers)
        self.tap = "logits" if classifier is None else "pooled"
        self.signals = ["logits"] if classifier is None else ["logits", "pooled"]
        self._classifier = [classifier]  # in a list, for it belongs to the source already
        number = next(NUMBERS)
        self.values_key = f"{KNOWN}{number}.values"  # what the file had, (B, C), rows of missing answers undefined
        self.missing_key = f"{KNOWN}{number}.missing"  # the positions of those rows, (M,)
        self.freeze()

    def begin(self, sources: Mapping[str, Source]) -> None:
        self.source.role = self.role
        self.source.begin(sources)

    @property
    def key(self) -> str:
        """What makes a config keep its answers."""
        return f"{self.role}.cache".lstrip(".")

    @property
    def answers(self) -> Answers:
        """Those of its source as it is."""
        return self.of_each[self.source.place if isinstance(self.source, Route) else 0]

    def request(self, taps: Mapping[str, set[str]]) -> None:
        for signal in sorted(set().union(*taps.values()) - set(self.signals)):
            raise UserError(
                f"{self.key}={self.tap}: keeps {' and '.join(self.signals)}, and a term takes "
                f"{f'{self.role}.{signal}'.lstrip('.')}; use {self.key}=off"
            )
        self.source.request({input: {"logits", self.tap} for input in {INPUT, *taps}})

    def identity(self) -> dict[str, Any]:
        return self.source.identity()

    def close(self) -> None:
        for answers in self.of_each:
            answers.close()

    def before_transfer(self, batch: Batch) -> Batch:
        batch = as_batch(batch)
        if "view" not in batch or "index" not in batch:
            raise UserError(
                f"{self.key}={self.tap}: a training batch without 'index' and 'view' holds inputs that never come "
                f"again, mixed ones for example; use {self.key}=off"
            )
        values, missing = self.answers.read(batch["index"], batch["view"])
        return {**batch, self.values_key: values, self.missing_key: missing}

    def answer(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        if self.values_key not in batch:
            return self.source(batch)
        kept, missing = batch[self.values_key], batch[self.missing_key]
        if len(missing):
            fresh = self.source({**batch, INPUT: batch[INPUT][missing]})[self.tap]
            index, view = (batch[name][missing].cpu() for name in ("index", "view"))
            kept = kept.clone()
            kept[missing] = self.answers.write(index, view, fresh.cpu()).to(kept.device)
        (classifier,) = self._classifier
        return {"logits": kept} if classifier is None else {"pooled": kept, "logits": classifier(kept)}


def cached_in(module: nn.Module) -> list[CachedSource]:
    """The sources whose answers are kept, among all parts of a module."""
    return [part for part in module.modules() if isinstance(part, CachedSource)]
