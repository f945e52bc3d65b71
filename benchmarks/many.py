"""Several teachers, several students and students that teach themselves on digits, as Markdown.

    python benchmarks/many.py [FOLDER]

Runs what FOLDER (default: outputs/benchmark-many) does not hold yet, two sweeps at a time, then prints the table.

One student, digits_cnn_4, with seeds 0 to 4; each row says who teaches it. Gains are paired by seed with the student
alone, and of 898 test images, of which one is 0.11 points. Of a pair it is the first.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from finished import difference, runs, shown, sweep

SEEDS = range(5)
HALF = ["alpha=0.5", "temperature=1"]  # labels and own answers count alike
CONDITIONS = {
    "one teacher, digits_cnn_32": [],
    "ensemble of three": ["teacher=ensemble", "teacher.models=[digits_cnn_32,digits_cnn_32,digits_cnn_32]"],
    "chain of assistants": ["plan=assistants", "plan.assistants=[digits_cnn_16,digits_cnn_8]"],
    "the same, all teach (DGKD)": [
        "plan=assistants",
        "plan.assistants=[digits_cnn_16,digits_cnn_8]",
        "plan.dense=true",
    ],
    "mutual pair, no teacher": ["teacher=none", "plan=mutual", "student.models=[digits_cnn_4,digits_cnn_4]"],
    "moving average of itself": ["teacher=moving_average", "teacher.decay=0.99", *HALF],
    "born again, three generations": ["plan=born_again", "teacher=none", "loss=[ce,kd]", *HALF],
}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/benchmark-many").resolve()
    seeds = "seed=" + ",".join(str(seed) for seed in SEEDS)
    with ThreadPoolExecutor(2) as pool:
        for condition, options in CONDITIONS.items():
            pool.submit(sweep, folder / slug(condition), *options, seeds)
    print(table(folder))


def slug(condition: str) -> str:
    return condition.partition(",")[0].replace(" ", "_").replace("(", "").replace(")", "")


def table(folder: Path) -> str:
    """Markdown: top-1 of the epoch that validation chose, and its gain over the student alone, paired by seed."""
    lines = ["| taught by | top-1 % | gain, points (95 % interval) |", "|-|-|-|"]
    for condition in CONDITIONS:
        found = runs(folder / slug(condition))
        if len(found) < len(SEEDS):
            lines.append(f"| {condition} | not complete | |")
            continue
        alone, taught = ([100 * run[run["plan"][name]]["top1"] for run in found] for name in ("baseline", "result"))
        lines.append(f"| {condition} | {shown(taught, 2)} | {difference(taught, alone, 2)} |")
    alone = [100 * run["scratch"]["top1"] for run in runs(folder / slug(next(iter(CONDITIONS))))]
    return "\n".join([*lines, f"\nThe student alone: {shown(alone, 2)} %."])


if __name__ == "__main__":
    main()
