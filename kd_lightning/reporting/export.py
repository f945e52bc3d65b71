"""The page's numbers as CSV and as Markdown."""

from kd_lightning.reporting.collection import Collection
from kd_lightning.reporting.content import Table
from kd_lightning.reporting.incomplete import notice
from kd_lightning.reporting.page_tables import configurations
from kd_lightning.reporting.sweep_page import compared, configurations_text, subtitle, title
from kd_lightning.tracking.markdown import as_text, row


def as_csv(runs: Collection) -> str:
    """A row for each run, all numbers as they are in its summary."""
    text: str = runs.table.to_csv(index=False)
    return text


def as_markdown(runs: Collection) -> str:
    """The comparison, and a row for each configuration."""
    missing = notice(runs)
    parts = [f"# {as_text(title(runs))}", as_text(subtitle(runs)), *([as_text(missing.text)] if missing else [])]
    for section in compared(runs):
        tables = [table(content) for content in section.contents if isinstance(content, Table)]
        parts += [as_text(section.text), *tables]
    parts += [as_text(configurations_text(runs)), table(configurations(runs))]
    return "\n\n".join(parts) + "\n"


def table(content: Table) -> str:
    """A table of Markdown; rows that stand out are bold."""
    lines = [[*map(as_text, content.titles)], ["-:" if number else "-" for number in content.numeric]]
    for index, cells in enumerate(content.rows):
        bold = "**" if index in content.marked else ""
        texts = [as_text(cell.text + (f" ({cell.note})" if cell.note else "")) for cell in cells]
        lines.append([f"{bold}{text}{bold}" if text else "" for text in texts])
    return "\n".join(map(row, lines))
