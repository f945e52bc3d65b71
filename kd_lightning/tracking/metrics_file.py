"""metrics.csv: a row for each time that something is logged, kept whole over interruptions."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from kd_lightning.runs.files import METRICS
from kd_lightning.runs.metrics_rows import Row, checksum, columns_of, read_rows, text_of
from kd_lightning.system.disk import writing
from kd_lightning.system.files import set_aside_folder, synced, write_text
from kd_lightning.system.records import damaged, warn_once


class MetricsFile(Logger):
    """metrics.csv in a folder; columns are sorted by name, and a row is on disk when it is logged.

    A checkpoint notes how many rows there are (`MetricsRows`), so that a training that is taken up again goes on behind
    them; else the file begins anew.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self.path = Path(save_dir) / METRICS
        self.rows, self.checksum = 0, 0
        self._columns: list[str] | None = None  # None before the first row of this process

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: beside metrics.csv the config is in .hydra/ already."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        row = row_of(metrics, self.rows if step is None else step)
        if self._columns is None:
            self._begin([])
        assert self._columns is not None
        if row.keys() <= {*self._columns}:
            with writing(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(text_of([row], self._columns, header=False))
        else:
            self._begin([*read_rows(self.path), row])
        self.rows += 1
        self.checksum = checksum([row], self.checksum)

    def sync(self) -> tuple[int, int]:
        """How many rows there are, all of them on disk whatever happens to the machine, and their checksum."""
        if self._columns is not None:
            synced(self.path)
        return self.rows, self.checksum

    @rank_zero_only
    def go_on(self, rows: int, told: int, step: int, to_come: Row | None = None) -> None:
        """Go on behind so many rows, and those behind them of steps before `step`, which ended the batch or the epoch.

        `to_come` is the first of these, which is added where it was not written any more. A warning says where the file
        has other rows than those with the checksum `told`: it is damaged, or the training went on elsewhere meanwhile.
        """
        found = read_rows(self.path)
        if self.path.exists() and checksum(found[:rows]) != told:
            warn_once(f"{damaged(self.path, 'its rows are not those of the checkpoint')}; its curves may be wrong")
        behind = [row for row in found[rows:] if int(row["step"]) < step]
        kept = [*found[:rows], *(behind or ([] if to_come is None else [to_come]))]
        self._begin(kept)
        self.rows, self.checksum = len(kept), checksum(kept)

    def _begin(self, rows: list[Row]) -> None:
        """Write the file anew, in one rename."""
        self._columns = columns_of(rows)
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            set_aside_folder(self.path)
        write_text(self.path, text_of(rows, self._columns, header=True) if rows else "")


def row_of(metrics: Mapping[str, Any], step: int) -> Row:
    """A row of what is logged in a step."""
    row = {name: str(getattr(value, "item", lambda value=value: value)()) for name, value in metrics.items()}
    return row | {"step": str(step)}
