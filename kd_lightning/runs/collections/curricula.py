"""Curricula beside their controls, seed by seed: no curriculum, and the same but for a part that decides nothing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from kd_lightning.runs.collections.collection import Collection, Configuration
from kd_lightning.runs.collections.statistics import Paired, paired
from kd_lightning.runs.run import Run
from kd_lightning.runs.status import text

OF_A_CURRICULUM = re.compile(r"curriculum($|[./])")  # a key


class Stands(NamedTuple):
    """What takes a part's place in a control: the name of its class, its config value, and what runs of it are."""

    name: str
    value: str
    called: str


NONE = "none"
PARTS = {
    "order": Stands("RandomOrder", "random", "the random order at the same pace"),
    "graph": Stands("RandomGraph", "random", "a random graph with the same gate"),
    "gate": Stands("AfterEpochs", "after_epochs", "the same path by the clock"),
}
ORDERS = ("order", "graph")  # the parts that say what comes first
UNUSED = {"order": ("difficulty",)}  # what a control has no use for


class Verdict(Enum):
    """What the interval of a difference says: it lies above 0, below, or around it."""

    HELPED = "helped"
    HURT = "did harm"
    NOTHING = "nothing shown"


@dataclass(frozen=True)
class Control:
    """What a curriculum is compared with: how much better it is, of as many seeds as both have, higher for better.

    `paired` is None where no seed has both. `equal_steps` says whether each pair was trained for as many steps.
    """

    paired: Paired | None
    equal_steps: bool = True

    @property
    def verdict(self) -> Verdict | None:
        """What the interval says; None of one seed, and where others were trained for longer."""
        if self.paired is None or self.paired.difference.low is None or not self.equal_steps:
            return None
        low, high = self.paired.difference.low, self.paired.difference.high
        assert high is not None
        return Verdict.HELPED if low > 0 else Verdict.HURT if high < 0 else Verdict.NOTHING


@dataclass(frozen=True)
class Taught:
    """The runs of one curriculum, and what they are beside its controls, those that somebody ran.

    `title` is what they were given. `orders_by` is the part that says what comes first, where a random one can take its
    place, and `is_random` says that one has. Controls are by the part that they replace, or `none`.
    """

    title: str
    orders_by: str | None
    is_random: bool
    controls: Mapping[str, Control]


def taught(runs: Collection) -> list[Taught]:
    """Each curriculum, the random controls too, in the order of the first runs; none where no run has one."""
    given = [(one, record) for one in runs.configurations if (record := record_of(one.runs)) is not None]
    found = []
    for one, record in given:
        beside = [other for other in runs.configurations if others_of(other) == others_of(one)]
        others: dict[str, list[Run]] = {part: [] for part in (NONE, *PARTS)}
        for run in (run for other in beside for run in finished(other.runs)):
            of_run = record_of([run])
            for part in [NONE] if of_run is None else PARTS:
                if of_run is None or is_control(of_run, record, part):
                    others[part].append(run)
        controls = {part: control(one, some, runs) for part, some in others.items() if some}
        orders_by = next((part for part in ORDERS if part in record), None)
        title = title_of(one, record, [other for other, _ in given])
        found.append(Taught(title, orders_by, any(is_replaced(record, part) for part in ORDERS), controls))
    return found


def finished(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.summary is not None]


def record_of(runs: Sequence[Run]) -> dict[str, Any] | None:
    """What the summaries of a configuration's runs tell of their curriculum; None where they have none."""
    return next(
        (found for run in finished(runs) if run.summary and (found := run.summary.data.get("curriculum"))), None
    )


def is_replaced(record: Mapping[str, Any], part: str) -> bool:
    """Whether a part of a curriculum is the one that decides nothing."""
    return str((record.get(part) or {}).get("_target_", "")).endswith(f".{PARTS[part].name}")


def is_control(record: Mapping[str, Any], of: Mapping[str, Any], part: str) -> bool:
    """Whether a curriculum is another one with a part replaced, and all else but seeds equal, such as its pace."""
    if is_replaced(of, part) or not is_replaced(record, part):
        return False
    left_out = (part, *UNUSED.get(part, ()))
    one, other = ({name: value for name, value in each.items() if name not in left_out} for each in (record, of))
    return without_seeds(one) == without_seeds(other)


def without_seeds(settings: Any) -> Any:
    """Settings but for their seeds, which may be those of the runs, and differ between the runs of a configuration."""
    if isinstance(settings, Mapping):
        return {name: without_seeds(value) for name, value in settings.items() if name != "seed"}
    return [without_seeds(one) for one in settings] if isinstance(settings, list) else settings


def others_of(one: Configuration) -> dict[str, str]:
    """What a configuration was given beside its curriculum."""
    return {key: value for key, value in one.choices.items() if not OF_A_CURRICULUM.match(key.lstrip("+"))}


def title_of(one: Configuration, record: Mapping[str, Any], all_given: Sequence[Configuration]) -> str:
    """What it was given as its curriculum and others were not; where all were given the same, its class."""
    own = {
        key: value
        for key, value in one.choices.items()
        if OF_A_CURRICULUM.match(key.lstrip("+")) and value and len({other.choices[key] for other in all_given}) > 1
    }
    return text(own) or str(record["name"])


def control(one: Configuration, others: list[Run], runs: Collection) -> Control:
    """A curriculum's runs beside others of the same seeds."""
    ours, theirs = one.by_seed(runs.score), Configuration({}, others).by_seed(runs.score)
    steps = [Configuration({}, some).by_seed(steps_of) for some in (one.runs, others)]
    both = [seed for seed in ours if seed in theirs]
    equal = all(steps[0].get(seed) == steps[1].get(seed) for seed in both)
    return Control(paired([(ours[seed], theirs[seed]) for seed in both]), equal)


def steps_of(run: Run) -> float | None:
    """The optimizer steps of a run's training, as far as it logged them."""
    return float(run.curves["step"].max()) if "step" in run.curves else None
