"""What a run leaves behind, without what differs between two equal runs: times, and the paths of its folder."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kd_lightning.runs.metrics_rows import read_rows

TIMES = {"time", "memory"}
NUMBER = re.compile(r"[\d,]+ images a second|-?\d[\d.e+-]*")
FOLDER = re.compile(r"(hydra\.(?:run|sweep)\.dir)=[^\s\"<]+")


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {n: without_times(v) for n, v in value.items() if n not in TIMES and not n.startswith("latency")}
    return value


def checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's step, weights and states of optimizers, as plain values."""
    stored = torch.load(path, weights_only=True)
    return plain({name: stored[name] for name in ("global_step", "epoch", "state_dict", "optimizer_states")})


def plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def page_of(path: Path) -> str:
    """What a page shows, and how many numbers, but not which: times are among them."""
    assert path.read_text().rstrip().endswith("</html>"), f"{path} is not whole"
    return NUMBER.sub("#", FOLDER.sub(r"\1", path.read_text()))


def content(path: Path) -> Any:
    """What is in a file, as far as two equal runs have it in common."""
    if path.name == "metrics.csv":
        return [{n: v for n, v in row.items() if n != "train/images_per_s"} for row in read_rows(path)]
    if path.name in ("summary.json", "record.json"):
        return without_times(json.loads(path.read_text()))
    if path.name == "sweep.json":
        return json.loads(path.read_text())
    if path.name == "status.json":
        return {n: v for n, v in json.loads(path.read_text()).items() if n not in ("started", "ended")}
    if path.suffix == ".npz":
        with np.load(path) as file:
            return {name: file[name].tolist() for name in file.files}
    if path.suffix == ".ckpt":
        return checkpoint(path)
    if path.suffix == ".html":
        return page_of(path)
    return path.read_bytes() if path.suffix in (".safetensors", ".bin") else None


def left_in(folder: Path) -> dict[str, Any]:
    """The files in a folder, hidden ones too, with their content."""
    return {
        str(path.relative_to(folder)): content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


def difference(whole: dict[str, Any], cut: dict[str, Any]) -> str | None:
    """The files that are too many, too few or others; None of equal folders."""
    told = [f"{name} is left over" for name in cut.keys() - whole.keys()]
    told += [f"{name} is missing" for name in whole.keys() - cut.keys()]
    told += [f"{name} differs" for name in whole.keys() & cut.keys() if whole[name] != cut[name]]
    return "; ".join(sorted(told)) or None
