"""The vocabulary of signals: what names there are, what they stand for, and what is wrong with one that is none.

student.stage1            a tap of a source
student@strong.stage1     the same of another view (strong, second, same_class), or of another input by its name
student.stage1.detached   without gradient
student.stages            all stages of a source; student.last_stage the last of them
peers.logits              of each other learner of a training, without gradient
target, index             what a batch has besides its inputs
train.index               the same of all training samples
progress.fraction         how far the training is
rows.lengths              of outputs with a row for each token or pixel: how many rows of each sample count (B,)
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kd_lightning.batch import INPUT, VIEWS
from kd_lightning.errors import UserError, did_you_mean

DETACHED = ".detached"
PROGRESS, TRAINING_SET, PEERS = "progress", "train", "peers"
OF_PROGRESS = ("epoch", "fraction")
LENGTHS = "rows.lengths"


class Signal(NamedTuple):
    """What a name says: a source's tap, of one of its inputs, with or without its gradient."""

    source: str
    tap: str
    input: str = INPUT
    is_detached: bool = False

    def __str__(self) -> str:
        source = self.source if self.input == INPUT else f"{self.source}@{self.input}"
        return f"{source}.{self.tap}{DETACHED if self.is_detached else ''}"


def read(name: str) -> Signal | None:
    """A source's signal by its name; None for what a batch has by itself, whose names have no dot."""
    first, dot, tap = name.partition(".")
    if not dot:
        return None
    source, _, view = first.partition("@")
    return Signal(source, tap.removesuffix(DETACHED), view or INPUT, name.endswith(DETACHED))


def has_rows(name: str) -> bool:
    """Whether a signal is one of those that have a row for each token or pixel, where outputs have."""
    signal = read(name)
    return name == "target" if signal is None else signal.tap.rpartition(".")[2] == "logits"  # also of a member


def requested(source: str, names: Iterable[str]) -> dict[str, set[str]]:
    """The taps of a source among the names of signals, by input: `input` first, then as they are named.

    In this order a network sees them, which its batch normalisations remember.
    """
    taps: dict[str, set[str]] = {}
    for signal in map(read, names):
        if signal is not None and signal.source == source:
            taps.setdefault(signal.input, set()).add(signal.tap)
    return {INPUT: taps[INPUT], **taps} if INPUT in taps else taps


def taps_of_source(source: str, names: Iterable[str]) -> set[str]:
    """The taps of a source among the names of signals, of whichever input."""
    return set().union(*requested(source, names).values())


def views_in(names: Iterable[str]) -> set[str]:
    """The further views of samples whose signals are among these names: `strong` for `student@strong.logits`."""
    return {signal.input for signal in map(read, names) if signal is not None and signal.input in VIEWS}


def expanded(name: str, available: Mapping[str, Iterable[str]]) -> str | list[str]:
    """The names that a name stands for: a list for numbered taps by their plural, as `student.stages`."""
    signal = read(name)
    if signal is None or signal.source not in available:
        return name
    numbered: dict[str, list[str]] = {}
    for tap in available[signal.source]:
        if match := re.fullmatch(r"(.*\D)\d+", tap):
            numbered.setdefault(f"{match[1]}s", []).append(str(signal._replace(tap=tap)))
    of_member, last, rest = signal.tap.rpartition("last_stage")
    if last and not rest and (stages := numbered.get(f"{of_member}stages")):
        return stages[-1]
    if signal.tap == "stages" and not any(tap.endswith(".stages") for tap in numbered):  # nor of its members
        return numbered.get("stages", [])
    return numbered.get(signal.tap, name)


def check_signal(
    key: str, name: str, available: Mapping[str, list[str]], taps_keys: Mapping[str, str] | None = None
) -> None:
    """UserError for a signal of a source that there is not, or that the source does not give.

    Names without a dot are the batch's own, which its loader decides. `taps_keys` tells where taps are added to a
    source; `SOURCE_taps` where it is not said.
    """
    sources = {**available, PROGRESS: list(OF_PROGRESS)}
    signal = Signal(name, "") if name in sources else read(name)
    if signal is not None and signal.source in sources:
        if signal.tap not in sources[signal.source]:
            taps_key = (taps_keys or {}).get(signal.source, f"{signal.source}_taps")
            raise UserError(_missing(key, name, signal, sources[signal.source], taps_key))
    elif signal is not None and signal.source == PEERS:
        raise UserError(f"{key}: stands for the other learners of a training, and this one has none")
    elif signal is not None or name.startswith(INPUT):
        hint = did_you_mean(signal.source, sources).replace("?", f".{signal.tap}?") if signal is not None else ""
        given = ", ".join(f"{source}.…" for source in sources if source != TRAINING_SET)
        raise UserError(
            f"{key}: nobody gives this signal; {hint}there are {given}, and what a batch has besides its inputs, such "
            "as target"
        )


def _missing(key: str, name: str, signal: Signal, taps: list[str], taps_key: str) -> str:
    source = signal.source
    if source == TRAINING_SET and not taps:
        return (
            f"{key}: this loss remembers all training images; give DistillationModule their index and target as "
            "training_set"
        )
    view, _, tap = signal.tap.partition(".")
    if tap in taps:
        return f"{key}: another view or input is written {signal._replace(tap=tap, input=view)}"
    close = did_you_mean(name.rpartition(".")[2], taps)
    hint = close.replace("did you mean ", f"did you mean {source}.")
    has = f"it has {', '.join(taps)}"
    if source in (PROGRESS, TRAINING_SET):
        return f"{key}: there is no such signal; {hint}{has}"
    return f"{key}: the {source} has no such tap; {hint}{has} (add more with {taps_key})"
