"""All methods on a part of CIFAR-100 that a CPU can carry, as Markdown.

    python benchmarks/methods.py ROOT [FOLDER]

ROOT holds cifar-100-python/. Runs what FOLDER (default: outputs/benchmark-methods) does not hold yet, two runs at a
time, then prints the table.

Ten classes, resnet20 teaches resnet8, the same 3 epochs for each method and seed, one teacher for all; methods of
several teachers have a second one, mutual ones two students, of which the first counts, and some no teacher. It shows
that a method trains, and roughly what it does in a short training; not how methods rank. Published runs take 240 epochs
on 100 classes, the weights here are those published for them, and the 1,000 test images alone make a run uncertain by
1.5 points.
"""

import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from finished import shown, summary, train

from kd_lightning.runs.collections.statistics import spread

CONF = Path(__file__).resolve().parent.parent / "conf" / "method"
SEEDS = range(3)
EPOCHS = 3
TEACHER_EPOCHS = 30
SELF_TAUGHT = {"byot", "cs_kd", "ddgsd", "ps_kd", "tf_kd", "tf_kd_reg", "uskd"}
MUTUAL = {"dml", "kdcl", "mcl"}
OF_ENSEMBLES = {"aekd", "ca_mkd", "ebkd"}
LEFT_OUT = {"deit", "funmatch"}  # which need a student with a distillation token, and patience
# Published warm-ups and initialisations, of 20 and 30 epochs of 240, in the same proportion.
SHORTER = {
    "dkd": ["loss.dkd.weight.epochs=0.25"],
    "ea_dkd": ["loss.dkd.weight.epochs=0.25"],
    "dkd_ls": ["loss.ls.weight.epochs=0.25"],
    "reviewkd": ["loss.reviewkd.weight.epochs=0.25"],
    "ctkd": ["loss.ctkd.loss.epochs=1"],
    **{name: ["initialization.epochs=1"] for name in ("ab", "fsp", "ft")},
}


def main() -> None:
    root = Path(sys.argv[1]).resolve()
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else "outputs/benchmark-methods").resolve()
    with ThreadPoolExecutor(2) as pool:
        teachers = [*pool.map(lambda seed: teacher(folder, root, seed), range(2))]
        for seed in SEEDS:
            for method in methods():
                options = [f"method={method}", *networks(method, teachers), f"trainer.max_epochs={EPOCHS}"]
                options += [f"seed={seed}", *SHORTER.get(method, [])]
                pool.submit(train, folder / method / str(seed), *of_ten_classes(root), *options)
    print(table(folder))


def teacher(folder: Path, root: Path, seed: int) -> Path:
    """The weights of a resnet20, in FOLDER/teacher for seed 0, which is trained now unless it is there."""
    run = folder / (f"teacher_{seed}" if seed else "teacher")
    options = ["teacher=none", "student.model=resnet20", f"trainer.max_epochs={TEACHER_EPOCHS}", f"seed={seed}"]
    train(run, *of_ten_classes(root), *options)
    return run / "student.safetensors"


def networks(method: str, teachers: Sequence[Path]) -> list[str]:
    """The networks of a method's runs."""
    if method in MUTUAL:
        return ["student.models=[resnet8,resnet8]"]
    if method in SELF_TAUGHT:
        return ["student.model=resnet8"]
    if method in OF_ENSEMBLES:
        each = ",".join(f"{{model: resnet20, weights: {weights}}}" for weights in teachers)
        return ["student.model=resnet8", f"teacher.models=[{each}]"]
    return ["student.model=resnet8", "teacher.model=resnet20", f"teacher.weights={teachers[0]}"]


def methods() -> list[str]:
    return sorted({file.stem for file in CONF.glob("*.yaml")} - LEFT_OUT)


def of_ten_classes(root: Path) -> list[str]:
    return [
        "data=cifar100",
        "data._target_=benchmarks.ten_classes.TenClasses",
        f"data.root={root}",
        "data.val_fraction=0",
    ]


def table(folder: Path) -> str:
    """Markdown: the last epoch's top-1 by method, mean and standard deviation over the seeds, best gain first."""
    runs = {method: [summary(folder / method / str(seed)) for seed in SEEDS] for method in methods()}
    complete = {method: [run for run in by_seed if run] for method, by_seed in runs.items()}
    complete = {method: found for method, found in complete.items() if len(found) == len(SEEDS)}
    gains = {
        method: [100 * (of(run, "result")["top1_last"] - of(run, "baseline")["top1"]) for run in found]
        for method, found in complete.items()
    }
    one = next(found for found in complete.values() if found[0]["teacher"])
    alone = [100 * run["scratch"]["top1"] for run in one]
    taught_by = 100 * one[0]["teacher"]["top1"]
    lines = [
        f"Teacher (resnet20, {TEACHER_EPOCHS} epochs): {taught_by:.1f} %. "
        f"Student alone (resnet8, {EPOCHS} epochs): {shown(alone)} %.",
        "",
        "| method | top-1 % | gain, points | 95 % interval of the mean gain |",
        "|-|-|-|-|",
    ]
    for method in sorted(gains, key=lambda name: -statistics.mean(gains[name])):
        top1 = [100 * of(run, "result")["top1_last"] for run in complete[method]]
        gain = spread(gains[method])
        assert gain is not None
        lines.append(f"| {method} | {shown(top1)} | {shown(gains[method])} | {gain.low:+.1f} to {gain.high:+.1f} |")
    missing = sorted(set(runs) - set(complete))
    return "\n".join([*lines, *([f"\nNot complete: {', '.join(missing)}"] if missing else [])])


def of(run: dict[str, Any], what: str) -> dict[str, Any]:
    """A run's `result` or `baseline`: the network that it is about, and the same alone."""
    found: dict[str, Any] = run[run["plan"][what]]
    return found


if __name__ == "__main__":
    main()
