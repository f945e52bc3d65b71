"""What a page is made of."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Card:
    """One number that a reader looks for first."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Notice:
    """What is missing."""

    text: str
    items: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Cell:
    """A text, what it is sorted by where that is something else, and a note below it."""

    text: str
    value: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Titles, which of the columns hold numbers, rows of cells, and which rows stand out."""

    titles: list[str]
    numeric: list[bool]
    rows: list[list[Cell]]
    marked: list[int] = field(default_factory=list)
    controls: bool = False

    def words(self, row: list[Cell]) -> str:
        """What a filter looks through: each cell's text, and as TITLE=TEXT."""
        return " ".join(f"{cell.text} {title}={cell.text}" for title, cell in zip(self.titles, row, strict=True))


@dataclass(frozen=True)
class Section:
    """A title, a sentence or two, and figures, tables or a heat map's data in plain values."""

    id: str
    title: str
    text: str
    contents: list[Table | dict[str, Any]]
    listed: bool = True  # in the navigation

    @property
    def filtered(self) -> bool:
        """Whether it has a table that sorts and filters, and with it the figures beside it."""
        return any(isinstance(content, Table) and content.controls for content in self.contents)


@dataclass(frozen=True)
class Content:
    """A whole page."""

    title: str
    subtitle: str
    cards: list[Card]
    sections: list[Section]
    notice: Notice | None = None


def section(id: str, title: str, text: str, contents: Iterable[Table | dict[str, Any] | None]) -> list[Section]:
    """A section in a list, with what there is to show; an empty list where there is nothing."""
    shown = [content for content in contents if content is not None]
    return [Section(id, title, text, shown)] if shown else []
