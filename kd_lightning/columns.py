"""Columns: what networks of one task are compared by, and how a run's summary tells it."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kd_lightning.errors import UserError

NAME = re.compile(r"[A-Za-z]\w*")
FORMAT = re.compile(r",?(\.\d{1,2})?[%fge]")
VALIDATED = "_validation"  # behind a column's name where it is of validation data
RESERVED = ("model", "params", "flops", "latency_ms", "latency_iqr_ms", "images", "part")  # what a record has beside


@dataclass(frozen=True)
class Column:
    """A metric as it is shown and compared.

    Args:
        name: its key in summaries, and behind `val/` and `test/` where it is logged.
        label: what tables call it.
        format: how a number of it is written: `.2%` in per cent, `.3f`, `.3g`, …
        higher_is_better: the direction of the best.
        in_sweeps: whether the tables of several runs have it too; they always have what selects.

    Raises `UserError` for a name or a format that cannot be.

    >>> from kd_lightning.tasks import Column
    >>> column = Column("top1", "top-1", ".2%")
    >>> column.title, column.text(0.5), column.difference(-0.0125)
    ('top-1 %', '50.00', '-1.25 points')
    >>> Column("mae", "mean absolute error", ".3g", higher_is_better=False).best([2.0, 0.5])
    0.5
    """

    name: str
    label: str
    format: str = ".3f"
    higher_is_better: bool = True
    in_sweeps: bool = True

    def __post_init__(self) -> None:
        if not all(isinstance(text, str) for text in (self.name, self.label, self.format)):
            raise UserError(f"column={self.name}: its name, label and format are text")
        if not NAME.fullmatch(self.name) or self.name in RESERVED or self.name.endswith((VALIDATED, "_best", "_last")):
            raise UserError(f"column={self.name}: letters, digits and _, and none of {', '.join(RESERVED)}")
        if not FORMAT.fullmatch(self.format):
            raise UserError(f"column={self.name}: its format {self.format} must be one as .2%, .3f or .3g")

    @property
    def is_share(self) -> bool:
        """Whether it is shown in per cent."""
        return self.format.endswith("%")

    @property
    def title(self) -> str:
        """The label with its unit."""
        return f"{self.label} %" if self.is_share else self.label

    @property
    def scale(self) -> float:
        """What a number is multiplied by to be shown."""
        return 100.0 if self.is_share else 1.0

    @property
    def mode(self) -> str:
        """`max` or `min`, as callbacks name the direction of the best."""
        return "max" if self.higher_is_better else "min"

    @property
    def sign(self) -> float:
        """1 or -1: times this, higher is better."""
        return 1.0 if self.higher_is_better else -1.0

    @property
    def worst(self) -> float:
        """The worst value that there is."""
        if self.is_share:
            return 0.0 if self.higher_is_better else 1.0
        return -self.sign * math.inf

    def text(self, value: float) -> str:
        """A number without its unit."""
        return f"{100 * value:{self.format[:-1]}f}" if self.is_share else format(value, self.format)

    def with_unit(self, value: float) -> str:
        return f"{self.text(value)} %" if self.is_share else self.text(value)

    def signed(self, difference: float) -> str:
        """A difference of two numbers, without its unit."""
        return f"{100 * difference:+{self.format[:-1]}f}" if self.is_share else format(difference, f"+{self.format}")

    def difference(self, difference: float) -> str:
        """The same with its unit."""
        return f"{self.signed(difference)} points" if self.is_share else self.signed(difference)

    def best(self, values: Sequence[float]) -> float:
        return max(values, key=lambda value: self.sign * value)

    def is_better(self, value: float, other: float) -> bool:
        return self.sign * value > self.sign * other


@dataclass(frozen=True)
class Measure:
    """A column on the validation data, or on the test data."""

    column: Column
    validated: bool = False

    @property
    def name(self) -> str:
        """Its key in summaries."""
        return f"{self.column.name}{self.end}"

    @property
    def end(self) -> str:
        """What its key has behind the column's name."""
        return VALIDATED if self.validated else ""

    @property
    def split(self) -> str:
        return "validation" if self.validated else "test"

    @property
    def label(self) -> str:
        return f"{self.split} {self.column.label}"

    @property
    def title(self) -> str:
        return f"{self.split} {self.column.title}"


@dataclass(frozen=True)
class Compared:
    """What a run's summary tells of its task: its name, its columns, the one that selects, and what guessing reaches.

    `chance` is of the column that selects, a share; None where there is no such number.
    """

    task: str
    columns: tuple[Column, ...]
    selects_on: Column
    chance: float | None = None

    def as_record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        columns = [asdict(column) for column in self.columns]
        return {"name": self.task, "columns": columns, "selects_on": self.selects_on.name, "chance": self.chance}

    @property
    def validation(self) -> Measure:
        """What selects."""
        return Measure(self.selects_on, validated=True)

    @property
    def test(self) -> Measure:
        """What selects, on the test data."""
        return Measure(self.selects_on)

    def measures(self) -> list[Measure]:
        """What the tables of several runs hold, what selects first."""
        shown = [column for column in self.columns if column.in_sweeps and column != self.selects_on]
        return [Measure(column, validated) for column in (self.selects_on, *shown) for validated in (True, False)]


def column_from(record: Any) -> Column | None:
    """A column of its plain values; None where these are none of a column."""
    try:
        return Column(**record)
    except (TypeError, UserError):
        return None


def compared_by(summary: Mapping[str, Any] | None) -> Compared | None:
    """What a summary's networks are compared by; None where it does not tell, as one from before tasks were named."""
    try:
        record = (summary or {})["data"]["task"]
        columns = tuple(column for one in record["columns"] if (column := column_from(one)) is not None)
        selects_on = next(column for column in columns if column.name == record["selects_on"])
        return Compared(str(record["name"]), columns, selects_on, record.get("chance"))
    except (KeyError, TypeError, AttributeError, StopIteration):
        return None
