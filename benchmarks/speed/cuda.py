"""Training's images/s on a GPU, by precision, compilation, cache and batch."""

import statistics
from pathlib import Path

import torch

from benchmarks.speed.cifar import PillowImages
from benchmarks.speed.limit import shares
from benchmarks.speed.ours import Ours, composed
from benchmarks.speed.reference_loop import reference_steps
from benchmarks.speed.settings import BATCH_SIZE, PAIRS, Pair
from benchmarks.speed.timing import Contestant, Effort, Row, alternate, median_ratio, say, stepwise

VARIANTS: dict[str, list[str]] = {
    "float32": [],
    "bf16": ["trainer.precision=bf16-mixed"],
    "bf16, compiled": ["trainer.precision=bf16-mixed", "compile=true", "data.drop_last=true"],
    "bf16, warm cache": ["trainer.precision=bf16-mixed", "teacher.cache=logits"],
    "bf16, compiled, warm cache": [
        *("trainer.precision=bf16-mixed", "compile=reduce-overhead", "data.drop_last=true", "teacher.cache=logits")
    ],
}
BATCHES = (BATCH_SIZE, 512)
EFFORT = Effort(steps=60, warm_up=20, repeats=5)


def measure(root: Path, folder: Path, effort: Effort = EFFORT) -> list[Row]:
    """Rows for each pair and variant at batch 64 against the plain loop, and at batch 512 alone; none without a GPU."""
    if not torch.cuda.is_available():
        return []
    images = PillowImages(root)
    return [row for pair in PAIRS for size in BATCHES for row in compare(pair, size, root, folder, images, effort)]


def compare(pair: Pair, size: int, root: Path, folder: Path, images: PillowImages, effort: Effort) -> list[Row]:
    """One pair at one batch size, all contestants in alternation."""
    say(f"on the GPU: {pair}, batch {size}")
    torch.compiler.reset()  # else the networks of one pair count as recompilations of those of another
    common = ["trainer.accelerator=gpu", f"data.batch_size={size}", f"paths.cache_dir={folder}"]
    ours = {name: Ours(composed(pair, root, [*common, *variant]), folder) for name, variant in VARIANTS.items()}
    for contestant in ours.values():  # which fills the caches
        contestant(effort.warm_up, effort.steps)
    theirs: dict[str, Contestant] = {}
    if size == BATCH_SIZE:
        theirs["plain loop"] = stepwise(reference_steps(pair, images, torch.device("cuda")))
    seconds = alternate({**theirs, **ours}, effort)
    rates = {name: [size / value for value in values] for name, values in seconds.items()}
    own = {name: rates[name] for name in ours}
    return [
        *(row(pair, size, name, rates) for name in ours),
        *shares(pair, own, torch.device("cuda"), f", batch {size}"),
    ]


def row(pair: Pair, size: int, name: str, rates: dict[str, list[float]]) -> Row:
    plain = rates.get("plain loop")
    return Row(
        "cuda",
        f"{pair}, batch {size}: {name}" + (", against plain loop" if plain else ""),
        statistics.median(plain) if plain else None,
        statistics.median(rates[name]),
        "images/s",
        median_ratio(rates[name], plain) if plain else None,
        rates,
    )
