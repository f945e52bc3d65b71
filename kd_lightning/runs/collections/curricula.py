"""Curricula beside their controls: runs without one, and those of a random order with all else equal, seed by seed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from kd_lightning.runs.collections.collection import Collection, Configuration
from kd_lightning.runs.collections.statistics import Paired, paired
from kd_lightning.runs.run import Run
from kd_lightning.runs.status import text

OF_A_CURRICULUM = re.compile(r"curriculum($|[./])")  # a key
RANDOM = {"order": "RandomOrder", "graph": "RandomGraph"}  # the classes of the parts that nothing decides
DECIDE = (*RANDOM, "difficulty")  # the parts in which a curriculum and its control differ


class Verdict(Enum):
    """What the interval of a difference says: it lies above 0, below, or around it."""

    HELPED = 1
    HURT = 2
    NOTHING = 3


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
    """The runs of one curriculum, and what tells whether it helped; a control is None where nobody ran it.

    `title` is what they were given. `part` is the part that orders samples or concepts, `order` or `graph`, where a
    random one can take its place, and `is_random` says that one has.
    """

    title: str
    part: str | None
    is_random: bool
    over_none: Control | None
    over_random: Control | None

    @property
    def verdict(self) -> Verdict | None:
        """Whether its order helped beyond its control; None where nothing tells it."""
        return None if self.over_random is None else self.over_random.verdict

    @property
    def seeds(self) -> int:
        """How many it has in common with its controls."""
        known = [one.paired for one in (self.over_none, self.over_random) if one is not None and one.paired is not None]
        return max((one.difference.n for one in known), default=0)


def taught(runs: Collection) -> list[Taught]:
    """Each curriculum, the random controls too, in the order of the first runs; none where no run has one."""
    given = [(one, record) for one in runs.configurations if (record := record_of(one.runs)) is not None]
    found = []
    for one, record in given:
        beside = [other for other in runs.configurations if others_of(other) == others_of(one)]
        none = [run for other in beside if record_of(other.runs) is None for run in finished(other.runs)]
        random = [run for other in beside for run in finished(other.runs) if is_control(record_of([run]), record)]
        part = next((part for part in RANDOM if part in record), None)
        title = title_of(one, record, [other for other, _ in given])
        controls = [control(one, others, runs) if others else None for others in (none, random)]
        found.append(Taught(title, part, is_random(record), *controls))
    return found


def finished(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.summary is not None]


def record_of(runs: Sequence[Run]) -> dict[str, Any] | None:
    """What the summaries of a configuration's runs tell of their curriculum; None where they have none."""
    return next(
        (found for run in finished(runs) if run.summary and (found := run.summary.data.get("curriculum"))), None
    )


def is_random(record: dict[str, Any]) -> bool:
    """Whether nothing decides a curriculum's order."""
    made = {part: str((record.get(part) or {}).get("_target_", "")) for part in RANDOM}
    return any(made[part].endswith(f".{name}") for part, name in RANDOM.items())


def is_control(record: dict[str, Any] | None, of: dict[str, Any]) -> bool:
    """Whether a curriculum is another one's at random: the same kind, with all else equal, such as its pace."""
    if record is None or is_random(of) or not is_random(record):
        return False
    one, other = ({name: value for name, value in each.items() if name not in DECIDE} for each in (record, of))
    return one == other


def others_of(one: Configuration) -> dict[str, str]:
    """What a configuration was given beside its curriculum."""
    return {key: value for key, value in one.choices.items() if not OF_A_CURRICULUM.match(key.lstrip("+"))}


def title_of(one: Configuration, record: dict[str, Any], all_given: Sequence[Configuration]) -> str:
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
