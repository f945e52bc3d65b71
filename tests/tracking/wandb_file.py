"""Reading back what Weights & Biases wrote offline: its .wandb file, a log of protocol buffers in blocks of 32 KiB."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as protocol

FILE_HEADER, RECORD_HEADER, BLOCK = 7, 7, 32 * 1024
WHOLE, LAST = 1, 4  # kinds of chunks that end a record


@dataclass
class WandbFile:
    """One run: what it is called, its config, its history, its summary, its artifacts by name."""

    path: Path
    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def scalars(self) -> set[str]:
        return {name for row in self.history for name in row if not name.startswith("_")}

    def table(self, name: str) -> dict[str, Any]:
        """The columns and data of a table that was logged, or that a chart was drawn from."""
        logged = next(row[name] for row in self.history if name in row)
        return json.loads((self.path.parent / "files" / logged["path"]).read_text())  # type: ignore[no-any-return]


def read_runs(folder: Path) -> list[WandbFile]:
    """The runs whose data lie in a training's folder, in the order in which they began."""
    return [read_run(path) for path in sorted(folder.glob("wandb/*run-*/run-*.wandb"))]


def read_run(path: Path) -> WandbFile:
    file = WandbFile(path)
    for record in read_records(path.read_bytes()):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            file.run = record.run
        elif kind == "config":
            file.config |= values(record.config.update)
        elif kind == "history":
            file.history.append(values(record.history.item))
        elif kind == "summary":
            file.summary |= values(record.summary.update)
        elif kind == "artifact":
            file.artifacts[record.artifact.name] = record.artifact
        elif kind == "exit":
            file.exit_code = record.exit.exit_code
    return file


def read_records(data: bytes) -> Iterator[Any]:
    position, record = FILE_HEADER, b""
    while position + RECORD_HEADER <= len(data):
        if BLOCK - position % BLOCK < RECORD_HEADER:  # what is left of a block is not used
            position += BLOCK - position % BLOCK
            continue
        length = int.from_bytes(data[position + 4 : position + 6], "little")
        kind = data[position + 6]
        position += RECORD_HEADER
        record += data[position : position + length]
        position += length
        if kind in (WHOLE, LAST):
            yield protocol.Record.FromString(record)
            record = b""


def values(items: Any) -> dict[str, Any]:
    """Items of a record by name; nested ones as mappings."""
    found: dict[str, Any] = {}
    for item in items:
        *outer, name = list(item.nested_key) or [item.key]
        inner = found
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[name] = json.loads(item.value_json)
    return found
