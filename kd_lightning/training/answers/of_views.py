"""The files of a teacher's answers, each named by everything that decides them."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kd_lightning.batch import Input
from kd_lightning.callbacks.prefill import check_length
from kd_lightning.conversions import conversions_of
from kd_lightning.conversions.entries import in_key
from kd_lightning.data import DataModule, ImageDataModule
from kd_lightning.data.data import example_input
from kd_lightning.errors import UserError
from kd_lightning.models import stored_normalization
from kd_lightning.models.resolution import stored_image_size
from kd_lightning.models.stem import stored_stem
from kd_lightning.sources import CachedSource, FrozenNetwork, Route
from kd_lightning.store import Answers, TopK, Whole, key_of
from kd_lightning.store.encoding import MOST_CLASSES, Encoding
from kd_lightning.store.remembered import remember
from kd_lightning.system.files import write_json
from kd_lightning.system.records import Each, sound_record
from kd_lightning.taps import TapReader, dry_run, find_inner_taps, find_taps
from kd_lightning.terminal import warn
from kd_lightning.training.context import Context, Recipe

KEPT = {"logits": ("logits",), "prefill": ("logits",), "pooled": ("logits", "pooled")}
OF_ANSWERS = {"config": Each(object), "of": str, "precision": str, "teacher": Each(object), "data": Each(object)}
DESCRIPTION = "cache.json"
LARGEST_FILE = 2**43  # bytes, of which only what is written takes up space


@dataclass(frozen=True)
class KeptAnswers:
    """Which of a teacher's answers are kept for this run and all others, and how exactly.

    Args:
        cache: `off`; `logits`, as the training asks for them; `prefill`, those of the whole training beforehand;
            `pooled`, what enters the classifier.
        bits: of each number.
        top_k: so many of the largest logits, and the sum of the others; all where None.
    """

    cache: Any = "off"
    bits: Any = 16
    top_k: Any = None

    @property
    def is_on(self) -> bool:
        return self.cache in KEPT

    @property
    def is_beforehand(self) -> bool:
        return bool(self.cache == "prefill")

    def in_key(self) -> dict[str, Any]:
        """What decides them, whenever they are asked for."""
        return {"bits": self.bits, "top_k": self.top_k, "pooled": self.cache == "pooled"}

    def check(self, data: DataModule, recipe: Recipe, *, batch_statistics: bool) -> None:
        """Raise UserError where the teacher's answers cannot be kept."""
        cache, top_k = self.cache, self.top_k
        if cache not in (*KEPT, "off", False, None):
            raise UserError(f"teacher.cache={cache}: must be off, logits, pooled or prefill")
        if not self.is_on:
            return
        if not isinstance(data, ImageDataModule):
            raise UserError(
                f"teacher.cache={cache}: answers are kept by image and view, and the data {data.name} have neither; "
                "use teacher.cache=off"
            )
        if data.streams:
            raise UserError(
                f"teacher.cache={cache}: the data give {', '.join(data.streams)}, and an index may mean another image "
                "in each; use teacher.cache=off"
            )
        if self.bits not in (16, 32):
            raise UserError(f"teacher.cache_bits={self.bits}: must be 16 or 32")
        if top_k is not None and (cache == "pooled" or not isinstance(top_k, int) or not 1 <= top_k < data.num_classes):
            raise UserError(
                f"teacher.cache_top_k={top_k}: with teacher.cache=logits, a whole number from 1 to below the "
                f"{data.num_classes} classes; else null"
            )
        if top_k is not None and data.num_classes > MOST_CLASSES:
            raise UserError(
                f"teacher.cache_top_k={top_k}: the data have {data.num_classes:,} classes, and {MOST_CLASSES:,} at "
                "most are told apart; use null, which keeps all logits"
            )
        if batch_statistics:
            raise UserError(
                f"teacher.cache={cache}: with teacher.batch_statistics=true an answer depends on the other images of "
                "its batch, and cannot be kept; use teacher.cache=off"
            )
        if self.is_beforehand:
            trainer = recipe.trainer.settings
            max_epochs = trainer.get("max_epochs")
            if max_epochs is None and trainer.get("max_time"):
                max_epochs = -1  # as Lightning has it
            check_length(max_epochs, trainer.get("max_steps", -1), "teacher.cache")

    def check_taken(self, taken: Iterable[str], prefix: str = "") -> None:
        """Raise UserError where these taps of a network, whose signals begin so, are not all kept."""
        if not self.is_on:
            return
        for tap in sorted(set(taken) - set(KEPT[self.cache])):
            raise UserError(
                f"teacher.cache={self.cache}: keeps {' and '.join(KEPT[self.cache])}, and a term takes "
                f"teacher.{prefix}{tap}; use teacher.cache=off"
            )

    def encoding(self, width: int) -> Encoding:
        return Whole(width, self.bits) if self.top_k is None else TopK(width, self.top_k, self.bits)

    def in_front_of(self, teacher: FrozenNetwork, model: Any, context: Context) -> FrozenNetwork | CachedSource:
        """A network, built from this `model`, behind its answers, where they are kept.

        Raises UserError where they would be too many.
        """
        if not self.is_on:
            return teacher
        data, example = context.data, example_input(context.data)
        assert isinstance(data, ImageDataModule)
        data.setup()
        classifier, width = None, data.num_classes
        if self.cache == "pooled":
            classes = data.num_classes
            found = find_taps(teacher.network, example, teacher.taps["logits"], classes)
            teacher = FrozenNetwork(teacher.network, {**found, **teacher.taps}, teacher.name, num_classes=classes)
            classifier, width = classifier_of(teacher, example)
        encoding = self.encoding(width)
        images = len(data.train_set.images.targets)
        size = images * data.num_views * 2 * encoding.words
        if size > LARGEST_FILE:
            raise UserError(
                f"data.views={data.num_views}: the teacher's answers to each view of {images:,} images may be too "
                "large; take fewer views, such as data.views=10, or teacher.cache=off"
            )
        each = teacher.identities() if isinstance(teacher, Route) else [teacher.identity()]
        answers = [
            self.opened(self.describe(teacher, one, model, context, encoding), context, encoding) for one in each
        ]
        return CachedSource(teacher, answers, classifier)

    def opened(self, described: dict[str, Any], context: Context, encoding: Encoding) -> Answers:
        """The answers that this decides; with a warning in memory alone where they cannot be written."""
        data = context.data
        assert isinstance(data, ImageDataModule)
        folder = context.store.folder("answers", described)

        def describe(place: Path) -> bool:
            rebuilt_from = {"config": context.settings, "made_in": os.getcwd()}
            remember(json.dumps(rebuilt_from["config"], sort_keys=True))
            write_json(place / DESCRIPTION, {**described, **rebuilt_from})
            return True

        def is_described(place: Path) -> bool:  # others may be at work on the answers in it
            anew = "it is written anew"
            return sound_record(place / DESCRIPTION, OF_ANSWERS, anew, strict=True) is not None or describe(place)

        size = len(data.train_set.images.targets), data.num_views, encoding
        try:
            context.store.obtain("answers", described, describe, is_described, "", by_each_rank=True)
            return Answers(folder / "answers.bin", *size)
        except OSError as error:
            reason = error.strerror or error
            warn(f"teacher.cache={self.cache}: {folder} cannot be written ({reason}); nothing is kept")
            return Answers(None, *size)

    def describe(
        self, teacher: FrozenNetwork, identity: Mapping[str, Any], model: Any, context: Context, encoding: Encoding
    ) -> dict[str, Any]:
        """Everything that decides an answer of a teacher with this identity, as plain values.

        Raises UserError where the data do not tell their content.
        """
        data, seen = context.data, context.data.fingerprint()
        if "content" not in seen:
            raise UserError(
                f"teacher.cache={self.cache}: the fingerprint of the data {data.name} does not tell their content; "
                "let it, or use teacher.cache=off"
            )
        of_images = ("name", "input_shape", "augmentation", "views", *(["mixing"] if "mixing" in seen else []))
        decided_by = {
            "teacher": {
                **identity,
                **stored_normalization(teacher.network),
                **stored_stem(teacher.network),
                **stored_image_size(teacher.network),
                **in_key(conversions_of(teacher.network)),
                "built_from": model,
                "taps": {tap: teacher.taps[tap] for tap in KEPT[self.cache]},
            },
            "data": {**{name: seen[name] for name in of_images}, "content": seen["content"]["train"]},
            "decoding": seen.get("decoding"),
            "kept": repr(encoding),
            "of": "pooled" if self.cache == "pooled" else "logits",
            "precision": str(context.recipe.trainer.settings.get("precision", "32-true")),
        }
        return key_of(decided_by, context.settings["data"])


def classifier_of(teacher: FrozenNetwork, example: Input) -> tuple[nn.Module, int]:
    """The teacher's last layer, and the width of what it takes. Raises UserError unless it makes logits of `pooled`."""
    inner = find_inner_taps(teacher.network, example, teacher.taps["logits"], teacher.num_classes)
    path = inner.get("classifier_weight", ":").partition(":")[0]
    layer = teacher.network.get_submodule(path) if path else None
    if isinstance(layer, nn.Linear) and "pooled" in teacher.taps:
        taps = {"pooled": teacher.taps["pooled"], "logits": teacher.taps["logits"]}
        with dry_run(teacher.network, example), torch.no_grad():
            seen = TapReader(teacher.network, taps, num_classes=teacher.num_classes)(example)
            if torch.allclose(layer(seen["pooled"]), seen["logits"], rtol=1e-4, atol=1e-5):
                return layer, math.prod(seen["pooled"].shape[1:])
    raise UserError(
        f"teacher.cache=pooled: the logits of {teacher.name} are not a linear layer of what it pools; use "
        "teacher.cache=logits"
    )
