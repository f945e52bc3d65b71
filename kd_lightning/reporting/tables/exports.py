"""What was seen of exported files, in the terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.filesize import decimal
from rich.table import Table

from kd_lightning.exporting.writing import SIZES, Exported


def exports_table(files: Sequence[Exported]) -> Table:
    """A column for each file: its size, how it compares with the network, how long it takes."""
    table = Table("", *(one.format for one in files), box=SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("size", *(decimal(one.bytes) for one in files))
    table.add_row("samples compared", *(f"{one.comparison.samples:,}" for one in files))
    table.add_row("largest difference", *(f"{one.comparison.largest:.2g}" for one in files))
    table.add_row("  what rounding explains", *(f"{one.comparison.bound:.2g}" for one in files))
    if any(one.comparison.same is not None for one in files):
        table.add_row("same class", *(f"{one.comparison.same:,}" for one in files))
        table.add_row("  where rounding decides none", *(f"{one.comparison.decided:,}" for one in files))
    for size in SIZES:
        for name in ("p50", "p95"):
            values = (getattr(one.latency[size], name) for one in files)
            table.add_row(f"{name}, batch of {size}, ms", *(f"{value:.3f}" for value in values))
    return table
