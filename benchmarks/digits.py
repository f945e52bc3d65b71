"""The README's first table: kd-train on digits with seeds 0 to 4, as Markdown.

    python benchmarks/digits.py [FOLDER]

Runs what FOLDER (default: outputs/benchmark-digits) does not hold yet, then prints mean and standard deviation over the
seeds, and the gain of distillation over the student alone.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SEEDS = range(5)
ROWS: dict[str, tuple[str, Callable[[float], float]]] = {
    "top-1 %": ("top1", lambda value: 100 * value),
    "NLL": ("nll", float),
    "calibration error %": ("ece", lambda value: 100 * value),
}
NETWORKS = {"teacher": "teacher", "student alone": "scratch", "distilled student": "student"}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/benchmark-digits")
    for seed in SEEDS:
        subprocess.run(["kd-train", f"seed={seed}", f"hydra.run.dir={folder}/{seed}"], check=True)
    print(table([json.loads((folder / str(seed) / "summary.json").read_text()) for seed in SEEDS]))


def table(summaries: list[dict]) -> str:  # type: ignore[type-arg]
    """Markdown: a column for each network, mean ± standard deviation over the runs."""
    names = [f"{title} ({summaries[0][role]['model']})" for title, role in NETWORKS.items()]
    lines = ["| | " + " | ".join(names) + " |", "|-|" + "-|" * len(names)]
    for label, (metric, scale) in ROWS.items():
        cells = [spread([scale(summary[role][metric]) for summary in summaries]) for role in NETWORKS.values()]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    lines.append(
        "| parameters | " + " | ".join(f"{summaries[0][role]['params']:,}" for role in NETWORKS.values()) + " |"
    )
    gains = [100 * (summary["student"]["top1"] - summary["scratch"]["top1"]) for summary in summaries]
    each = ", ".join(f"{gain:+.2f}" for gain in gains)
    return "\n".join(lines) + f"\n\nGain of distillation, points of top-1: {spread(gains)} (by seed: {each})."


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


if __name__ == "__main__":
    main()
