"""The networks of a run side by side, before there are any."""

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Table

from kd_lightning.taps.inspection import Cost

Costs = Mapping[str, tuple[str, Cost]]


def model_summary(teachers: Costs, students: Costs) -> Table:
    """A row for each network by its role, with its name and cost; of teacher and student how much smaller it is."""
    networks = {**teachers, **students}
    table = Table(box=SIMPLE_HEAD)
    for title in ("", "model"):
        table.add_column(title)
    for title in ("parameters", "MFLOPs"):
        table.add_column(title, justify="right")
    for role, (name, cost) in networks.items():
        table.add_row(role, name, f"{cost.params:,}", f"{cost.flops / 1e6:,.2f}")
    if len(teachers) == len(students) == 1:
        large, small = (cost for _, cost in networks.values())
        pairs = ((large.params, small.params), (large.flops, small.flops))
        table.add_row(
            " : ".join(networks), "", *(f"{more / max(1, fewer):.3g} : 1" for more, fewer in pairs), style="dim"
        )
    return table
