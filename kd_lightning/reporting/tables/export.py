"""The page's numbers as CSV and as Markdown."""

from kd_lightning.reporting.pages.content import Table
from kd_lightning.reporting.pages.incomplete import notice
from kd_lightning.reporting.pages.sweep_page import (
    compared,
    configurations_text,
    curricula_text,
    subtitle,
    title,
)
from kd_lightning.reporting.tables.by_data import by_data
from kd_lightning.reporting.tables.curricula import curricula
from kd_lightning.reporting.tables.page_tables import configurations
from kd_lightning.runs.collections.collection import Collection
from kd_lightning.tracking.markdown import as_text, row


def as_csv(runs: Collection) -> str:
    """A row for each run, all numbers as they are in its summary."""
    rows = runs.table
    if len(by_data(runs)) > 1:
        rows.insert(1, "data_set", [run.summary.data["name"] if run.summary else None for run in runs.runs])
    text: str = rows.to_csv(index=False)
    return text


def as_markdown(runs: Collection) -> str:
    """The comparison, and a row for each configuration."""
    missing, divided = notice(runs), by_data(runs)
    parts = [f"# {as_text(title(runs))}", *([as_text(missing.text)] if missing else [])]
    for part in divided:
        parts += [f"## {as_text(part.title)}"] if len(divided) > 1 else []
        parts += tables_of(part)
    return "\n\n".join(parts) + "\n"


def tables_of(runs: Collection) -> list[str]:
    """The comparison of runs on one data set, and a row for each configuration."""
    parts = [as_text(subtitle(runs))]
    for section in compared(runs):
        tables = [table(content) for content in section.contents if isinstance(content, Table)]
        parts += [as_text(section.text), *tables]
    if (controls := curricula(runs)) is not None:
        parts += [as_text(curricula_text(runs)), table(controls)]
    return [*parts, as_text(configurations_text(runs)), table(configurations(runs))]


def table(content: Table) -> str:
    """A table of Markdown; rows that stand out are bold."""
    lines = [[*map(as_text, content.titles)], ["-:" if number else "-" for number in content.numeric]]
    for index, cells in enumerate(content.rows):
        bold = "**" if index in content.marked else ""
        texts = [as_text(cell.text + (f" ({cell.note})" if cell.note else "")) for cell in cells]
        lines.append([f"{bold}{text}{bold}" if text else "" for text in texts])
    return "\n".join(map(row, lines))
