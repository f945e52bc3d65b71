"""Training's images/s against a plain loop and against torchdistill, batch 64, KD, CIFAR-100, on the CPU."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.speed.cifar import PillowImages
from benchmarks.speed.limit import shares
from benchmarks.speed.machine import torchdistill_version
from benchmarks.speed.ours import Ours, composed
from benchmarks.speed.reference_loop import reference_steps
from benchmarks.speed.settings import BATCH_SIZE, LARGE_TEACHER, PAIRS, Pair
from benchmarks.speed.timing import Contestant, Effort, Row, alternate, median_ratio, say, stepwise
from benchmarks.speed.torchdistill_loop import torchdistill_steps
from kd_lightning.system.cpu import has_native_bfloat16

VARIANTS: dict[str, list[str]] = {  # what a user adds to kd-train
    "float32": [],
    "bf16": ["trainer.precision=bf16-mixed"],
    "float32, compiled": ["compile=true"],
    "float32, warm cache": ["teacher.cache=logits"],
    "bf16, warm cache": ["trainer.precision=bf16-mixed", "teacher.cache=logits"],
}
EFFORT = Effort(steps=6, warm_up=2, repeats=3)


def measure(
    root: Path,
    folder: Path,
    pairs: Sequence[Pair] = (*PAIRS, LARGE_TEACHER),
    variants: Mapping[str, list[str]] = VARIANTS,
    effort: Effort = EFFORT,
) -> list[Row]:
    """Rows for each pair, variant and opponent, and its limit; those of bf16 only where the CPU multiplies it."""
    if torchdistill_version() is None:
        say('torchdistill is not installed, so it is not measured; pip install "kd-lightning[bench]"')
    if not has_native_bfloat16():
        say("this CPU does not multiply bf16 by itself, so that is not measured")
        variants = {name: overrides for name, overrides in variants.items() if "bf16" not in name}
    images = PillowImages(root)
    return [row for pair in pairs for row in compare(pair, root, folder, images, variants, effort)]


def compare(
    pair: Pair, root: Path, folder: Path, images: PillowImages, variants: Mapping[str, list[str]], effort: Effort
) -> list[Row]:
    """One pair, all contestants in alternation."""
    say(f"training: {pair}")
    torch.compiler.reset()  # else the networks of one pair count as recompilations of those of another
    cpu = torch.device("cpu")
    theirs: dict[str, Contestant] = {"plain loop": stepwise(reference_steps(pair, images, cpu))}
    if torchdistill_version() is not None:
        theirs["torchdistill"] = stepwise(torchdistill_steps(pair, images, cpu))
    ours = {
        name: Ours(composed(pair, root, ["trainer.accelerator=cpu", f"paths.cache_dir={folder}", *overrides]), folder)
        for name, overrides in variants.items()
    }
    fill(ours, effort)
    seconds = alternate({**theirs, **ours}, effort)
    rates = {name: [BATCH_SIZE / value for value in seconds[name]] for name in ours}
    return [
        *(row(pair, opponent, name, seconds) for name in ours for opponent in theirs),
        *shares(pair, rates, cpu),
    ]


def fill(ours: Mapping[str, Ours], effort: Effort) -> None:
    """Have each variant with a cache make all steps that will be measured, so that the cache holds their answers."""
    for contestant in ours.values():
        if contestant.config.teacher.cache != "off":
            contestant(effort.warm_up, effort.steps)


def row(pair: Pair, opponent: str, variant: str, seconds: dict[str, list[float]]) -> Row:
    """One variant against one opponent, as images/s."""
    rates = {name: BATCH_SIZE / statistics.median(seconds[name]) for name in (opponent, variant)}
    return Row(
        "training",
        f"{pair}: {variant}, against {opponent}",
        rates[opponent],
        rates[variant],
        "images/s",
        median_ratio(seconds[opponent], seconds[variant]),
        {name: [BATCH_SIZE / value for value in seconds[name]] for name in rates},
    )
