"""Candidate teachers by what is kept of their answers: no network is built, and none is asked."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor

from kd_lightning.config.folder.foreign import check_foreign
from kd_lightning.data import ImageDataModule
from kd_lightning.errors import UserError, did_you_mean
from kd_lightning.inference.answers.verification import config_of, working_in
from kd_lightning.runs.collections.teachers import Candidate, ranked
from kd_lightning.store import Answers, TopK, Whole
from kd_lightning.store.encoding import Encoding
from kd_lightning.store.folders import Entry, entries
from kd_lightning.store.remembered import is_remembered
from kd_lightning.system.records import read_record
from kd_lightning.tasks.metrics import ExpectedCalibrationError, ratio_of_two_largest
from kd_lightning.training.answers.of_views import OF_ANSWERS

ALL = "all"
MOST = 20_000  # answers that are compared
ENCODINGS: dict[str, type[Whole] | type[TopK]] = {"Whole": Whole, "TopK": TopK}


class Kept:
    """The answers of a teacher in a folder of the cache, and which data they are of.

    Raises UserError where nothing describes them.
    """

    def __init__(self, entry: Entry) -> None:
        self.folder, self.name = entry.path, entry.name
        stored = read_record(entry.path / "cache.json", OF_ANSWERS, remedy=f"kd-cache rm {entry.name}")
        if stored is None:
            raise UserError(f"{entry.name}: cache.json, which describes it, is not there; kd-cache rm {entry.name}")
        self.stored: dict[str, Any] = stored
        self.model = str(stored["teacher"]["model"])

    @property
    def data(self) -> str:
        """What decides the images and their views."""
        return json.dumps(self.stored["data"], sort_keys=True)

    @property
    def fault(self) -> str | None:
        """Why nothing can be told of it; None where something can."""
        if self.stored["of"] != "logits":
            return "keeps what enters the classifier, not logits; train with teacher.cache=logits"
        if "mixing" in self.stored["data"]:
            return "is of mixed images, which have no one label; train with data.mixing=null"
        return None

    def answers(self, images: int) -> Answers:
        return Answers(
            self.folder / "answers.bin", images, self.stored["data"]["views"], encoding_of(self.stored["kept"])
        )

    def targets(self, trust: bool) -> Tensor:
        """The labels of all images, int64 (N,). Raises UserError where the data are not here any more.

        It is also raised unless `trust`, or a run of this user's made the answers, where something foreign would be
        built: `check_foreign`.
        """
        if not trust and not is_remembered(json.dumps(self.stored["config"], sort_keys=True)):
            check_foreign(self.stored["config"], self.name)
        config = config_of(self.stored, self.folder)
        with working_in(self.stored.get("made_in")):
            data: ImageDataModule = instantiate(config.data)  # no others' answers are kept
            data.setup()  # without prepare_data(), which may download
        if data.fingerprint()["content"]["train"] != self.stored["data"]["content"]:
            raise UserError(f"{self.name}: the data are not what they were; kd-cache rm {self.name}")
        images = len(data.train_set.images.targets)
        return data.train_set.labels_of(torch.arange(images))


def rank(chosen: Any, cache: Path, trust: bool = False) -> tuple[list[tuple[str, list[Candidate]]], list[str]]:
    """The candidates of each data, which are named, ranked, and a line for each of whom nothing can be told.

    They are compared on the same views of the same images, those that all were asked about, where there are any.
    Raises UserError for a choice that names nobody.
    """
    kept = selected(chosen, [Kept(entry) for entry in entries(cache) if entry.kind == "answers"], cache)
    left_out = [f"{one.name}: {one.fault}" for one in kept if one.fault is not None]
    by_data: dict[str, list[Kept]] = {}
    for one in kept:
        if one.fault is None:
            by_data.setdefault(one.data, []).append(one)
    found = []
    for own in by_data.values():
        compared, on = told_of_all(own, own[0].targets(trust))
        found.append((f"{own[0].stored['data']['name']}, {on}", ranked(compared)))
    return found, left_out


def selected(chosen: Any, kept: Sequence[Kept], cache: Path) -> list[Kept]:
    """Those that a choice names. Raises UserError."""
    if not kept:
        raise UserError(f"teachers={chosen}: no answers are kept in {cache}; train with teacher.cache=logits first")
    if chosen == ALL:
        return list(kept)
    names = [chosen] if isinstance(chosen, (str, int)) else chosen
    if not isinstance(names, Sequence) or not names or not all(isinstance(name, (str, int)) for name in names):
        raise UserError(f"teachers={chosen}: must be a list of models, or of names that kd-cache ls shows; or all")
    found: dict[str, Kept] = {}
    for name in map(str, names):
        own = [one for one in kept if one.model == name] or [one for one in kept if one.name.startswith(name)]
        if not own:
            models = dict.fromkeys(one.model for one in kept)
            raise UserError(
                f"teachers={name}: no answers of it are kept in {cache}; {did_you_mean(name, models)}there are those "
                f"of {', '.join(models)}"
            )
        found |= {one.name: one for one in own}
    return [*found.values()]


def told_of_all(kept: Sequence[Kept], targets: Tensor) -> tuple[list[Candidate], str]:
    """What the answers tell of each teacher, and on which they are compared."""
    views = kept[0].stored["data"]["views"]
    answers = [one.answers(len(targets)) for one in kept]
    each = [one.rows(*one.filled()) for one in answers]
    common, *others = [rows for rows in each if len(rows)] or each  # one without an answer yet is compared with nobody
    for rows in others:
        common = common[torch.isin(common, rows)]
    on = (
        f"{some(common).numel():,} answers to views of training images that all have"
        if len(common)
        else "each on its own"
    )
    several = {one.model for one in kept if sum(other.model == one.model for other in kept) > 1}
    found = []
    for one, its, rows in zip(kept, answers, each, strict=True):
        is_compared = len(common) > 0 and len(rows) > 0
        chosen = some(common if is_compared else rows)
        index = torch.div(chosen, views, rounding_mode="floor")
        logits, missing = its.read(index, chosen % views)
        its.close()
        there = torch.ones(len(chosen), dtype=torch.bool).index_fill(0, missing, False)
        title = f"{one.model} ({one.name})" if one.model in several else one.model
        note = "" if is_compared else f"{int(there.sum()):,} answers"
        tells = told(logits[there], targets[index[there]])
        if isinstance(its.encoding, TopK) and its.encoding.k < 2:
            tells = {**tells, "ratio": None}  # the second logit was not kept
        found.append(Candidate(title, tells, note=note))
    return found, on


def some(rows: Tensor) -> Tensor:
    """Not more than `MOST`, always the same ones."""
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:MOST].sort().values
    return rows[chosen]


def told(logits: Tensor, target: Tensor) -> Mapping[str, float | None]:
    """Accuracy, calibration error, mean entropy in nats and mean ratio of the two largest logits.

    Takes logits (N, C) and target (N,); samples without a label tell of the last two alone.
    """
    labelled = target >= 0
    entropy = torch.special.entr(logits.softmax(dim=1)).sum(dim=1)
    ratio = ratio_of_two_largest(logits)
    ratio = ratio[ratio.isfinite()]
    known: dict[str, float | None] = {"accuracy": None, "ece": None}
    if bool(labelled.any()):
        error = ExpectedCalibrationError(logits.shape[1])
        error.update(logits[labelled], target[labelled])
        known["accuracy"] = float((logits.argmax(dim=1) == target)[labelled].float().mean())
        known["ece"] = float(error.compute())
    known["entropy"] = float(entropy.mean()) if len(entropy) else None
    known["ratio"] = float(ratio.mean()) if len(ratio) else None
    return known


def encoding_of(kept: str) -> Encoding:
    """How answers were kept, by what their description says of it. Raises UserError for what it cannot say."""
    match = re.fullmatch(r"(\w+)\((.*)\)", kept)
    kind = ENCODINGS.get(match[1]) if match else None
    given = re.findall(r"(\w+)=(\d+)", match[2]) if match else []
    if kind is None:
        raise UserError(f"kept={kept}: is no way of keeping answers that this version knows; kd-cache rm it")
    return kind(**{name: int(number) for name, number in given})
