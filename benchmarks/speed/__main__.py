"""Speed, measured side by side: prints a Markdown table and writes JSON.

    python -m benchmarks.speed [ROOT] [--json FILE] [--only training,overhead,students,sweep,startup,cuda,decoding]

ROOT holds cifar-100-python/ and, for decoding, imagenet/. Without it the images are noise in CIFAR-100's layout, which
take the same time, and decoding is left out. Run it on a quiet machine, from the clone's folder.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.speed import cuda, decode, overhead, startup, students, sweep, training
from benchmarks.speed.cifar import write_noise
from benchmarks.speed.machine import machine, sentence
from benchmarks.speed.timing import Row, say
from kd_lightning.cli.composed import prepare_process

PARTS: dict[str, Callable[[Path, Path], list[Row]]] = {
    "training": training.measure,
    "overhead": overhead.measure,
    "students": students.measure,
    "sweep": sweep.measure,
    "startup": startup.measure,
    "cuda": cuda.measure,
    "decoding": decode.measure,  # last, for it sets the number of threads
}


def main(arguments: list[str] | None = None) -> None:
    given = parse(arguments)
    prepare_process()  # as every command of this package does
    measured_on = machine()
    # The table alone goes to stdout, and nothing that a training says.
    with redirect_stdout(sys.stderr), TemporaryDirectory(prefix="kd-lightning-bench-") as scratch:
        root = given.root
        if root is None:
            say("no ROOT given: random images in CIFAR-100's layout")
            root = Path(scratch) / "noise"
            write_noise(root)
        measured = measure(given.only, root.resolve(), Path(scratch))
    record = {"machine": measured_on, "data": "noise" if given.root is None else "cifar-100", **measured}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record["rows"]))
    print(f"\nMeasured on {sentence(measured_on)}; images: {record['data']}.")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.speed", description=__doc__.partition("\n")[0])
    parser.add_argument("root", nargs="?", type=Path, help="holds cifar-100-python/; noise where it is not given")
    parser.add_argument("--json", type=Path, default=Path("outputs/bench.json"), help="the file to write")
    parser.add_argument("--only", type=names_of_parts, default=[*PARTS], help="parts, by commas")
    return parser.parse_args(arguments)


def names_of_parts(text: str) -> list[str]:
    names = text.split(",")
    if unknown := {*names} - {*PARTS}:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    return names


def measure(only: list[str], root: Path, scratch: Path) -> dict[str, Any]:
    """The rows of these parts and the seconds that each took, as plain values."""
    rows: list[dict[str, Any]] = []
    seconds = {}
    for name in only:
        began = time.perf_counter()
        say(f"== {name}")
        folder = scratch / name
        folder.mkdir()
        rows += [asdict(row) for row in PARTS[name](root, folder)]
        seconds[name] = round(time.perf_counter() - began, 1)
    return {"rows": rows, "seconds": seconds}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: what, theirs, ours, ratio."""
    lines = ["| what | theirs | ours | ratio |", "|-|-|-|-|"]
    for row in rows:
        theirs, ours = (number(row[side], row["unit"]) for side in ("theirs", "ours"))
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append(f"| {row['what']} | {theirs} | {ours} | {ratio} |")
    return "\n".join(lines)


def number(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:,.{0 if value >= 100 else 1}f} {unit}"


if __name__ == "__main__":
    main()
