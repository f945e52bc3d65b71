"""Curricula beside their controls on two parts of CIFAR-100 that a CPU can carry, as Markdown.

    python benchmarks/curricula.py ROOT [FOLDER]

ROOT holds cifar-100-python/. Runs what FOLDER (default: outputs/benchmark-curricula) does not hold yet, two sweeps at a
time, then prints a table for each part.

resnet20 teaches resnet8 by KD, five seeds, equal steps for all, one teacher for each part, its answers kept. The five
small mammals have a short budget, the ten classes have four of ten training labels wrong, for the teacher too: where
curricula are known to matter (Wu, Dyer, Neyshabur 2021, arXiv:2012.03107). Differences are paired by seed, and of a few
hundred test images; no seed chose anything here.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from finished import difference, runs, shown, sweep, train

SEEDS = range(5)
PACED = ["curriculum=paced", "curriculum/difficulty=teacher_loss"]
SELF_PACED = (
    "{_target_: kd_lightning.losses.sample_weights.SelfPaced, "
    "threshold: {_target_: kd_lightning.schedules.Linear, start: 2.5, end: 6}}"
)
NONE, RANDOM = "none", "random"
CONDITIONS = {
    NONE: [],
    "easy first": [*PACED, "curriculum/order=easy_first"],
    "hard first": [*PACED, "curriculum/order=hard_first"],
    RANDOM: [*PACED, "curriculum/order=random"],
    "self-paced": [f"loss.kd.sample_weight={SELF_PACED}", f"loss.ce.sample_weight={SELF_PACED}"],
    "ea_kd": ["method=ea_kd"],
    "learning path": ["curriculum=learning_path"],
}


class Part(NamedTuple):
    """A part of CIFAR-100: its data, and how long teacher and student learn on it."""

    data: Sequence[str]
    teacher_epochs: int
    epochs: int


PARTS = {
    "small mammals": Part(["data._target_=benchmarks.small_mammals.SmallMammals"], 30, 15),
    "ten classes, 40 % of the labels wrong": Part(
        ["data._target_=benchmarks.ten_classes.TenClasses", "data.label_noise=0.4"], 15, 8
    ),
}


def main() -> None:
    root = Path(sys.argv[1]).resolve()
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else "outputs/benchmark-curricula").resolve()
    with ThreadPoolExecutor(2) as pool:
        teachers = [*pool.map(lambda name: taught_by(folder, name, root), PARTS)]
        for (name, part), teacher in zip(PARTS.items(), teachers, strict=True):
            for condition, options in CONDITIONS.items():
                where = folder / slug(name) / slug(condition)
                of_part = [*of(part, root), *teacher, f"trainer.max_epochs={part.epochs}", "scratch=false"]
                seeds = "seed=" + ",".join(str(seed) for seed in SEEDS)
                pool.submit(sweep, where, *options, *of_part, "student.model=resnet8", seeds)
    print("\n\n".join(table(folder, name) for name in PARTS))


def of(part: Part, root: Path) -> list[str]:
    """Its data, of which each image is seen in eight variants, so that answers are kept for later epochs and seeds."""
    return ["data=cifar100", *part.data, f"data.root={root}", "data.views=8"]


def taught_by(folder: Path, name: str, root: Path) -> list[str]:
    """What makes kd-train take the resnet20 of a part, which is trained now unless it is there."""
    part, run = PARTS[name], folder / slug(name) / "teacher"
    options = ["teacher=none", "student.model=resnet20", f"trainer.max_epochs={part.teacher_epochs}"]
    train(run, *of(part, root), *options)
    return ["teacher.model=resnet20", f"teacher.weights={run / 'student.safetensors'}", "teacher.cache=logits"]


def slug(name: str) -> str:
    return name.partition(",")[0].replace(" ", "_")


def table(folder: Path, name: str) -> str:
    """Markdown: top-1 of the epoch that validation chose, its differences from none and from random."""
    top1 = {condition: measured(folder / slug(name) / slug(condition)) for condition in CONDITIONS}
    (teacher,) = {run["teacher"]["top1"] for run in runs(folder / slug(name) / NONE)} or {float("nan")}
    lines = [
        f"**{name}**: teacher {100 * teacher:.1f} %, {PARTS[name].epochs} epochs",
        "",
        "| condition | top-1 % | over none | over random |",
        "|-|-|-|-|",
    ]
    for condition, values in top1.items():
        if len(values) < len(SEEDS):
            lines.append(f"| {condition} | not complete | | |")
            continue
        cells = [shown(values), *("" if condition == one else difference(values, top1[one]) for one in (NONE, RANDOM))]
        lines.append(f"| {condition} | {' | '.join(cells)} |")
    return "\n".join(lines)


def measured(folder: Path) -> list[float]:
    return [100 * run["student"]["top1"] for run in runs(folder)]


if __name__ == "__main__":
    main()
