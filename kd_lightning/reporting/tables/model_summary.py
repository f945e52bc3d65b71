"""The networks of a run side by side, before there are any."""

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Table

from kd_lightning.taps.inspection import Cost


def model_summary(networks: Mapping[str, tuple[str, Cost]]) -> Table:
    """A row for each network by its role, with its name and cost; how much smaller the student is than the teacher."""
    table = Table(box=SIMPLE_HEAD)
    for title in ("", "model"):
        table.add_column(title)
    for title in ("parameters", "MFLOPs"):
        table.add_column(title, justify="right")
    for role, (name, cost) in networks.items():
        table.add_row(role, name, f"{cost.params:,}", f"{cost.flops / 1e6:,.2f}")
    if len(networks) == 2:
        student, teacher = networks["student"][1], networks["teacher"][1]
        pairs = ((teacher.params, student.params), (teacher.flops, student.flops))
        table.add_row(
            "teacher : student", "", *(f"{large / max(1, small):.3g} : 1" for large, small in pairs), style="dim"
        )
    return table
