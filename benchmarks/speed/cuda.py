"""Training's images/s on a GPU, by precision, compilation, cache and batch."""

import statistics
from collections.abc import Sequence
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
    "bf16, images on the host": ["trainer.precision=bf16-mixed", "data.resident=false"],
    "bf16, compiled": ["trainer.precision=bf16-mixed", "compile=true", "data.drop_last=true"],
    "bf16, CUDA graphs": ["trainer.precision=bf16-mixed", "compile=reduce-overhead", "data.drop_last=true"],
    "bf16, warm cache": ["trainer.precision=bf16-mixed", "teacher.cache=logits"],
    "bf16, CUDA graphs, warm cache": [
        *("trainer.precision=bf16-mixed", "compile=reduce-overhead", "data.drop_last=true", "teacher.cache=logits")
    ],
}
BATCHES = (BATCH_SIZE, 512)
EFFORT = Effort(steps=60, warm_up=20, repeats=5)


def measure(root: Path, folder: Path, pairs: Sequence[Pair] = PAIRS, effort: Effort = EFFORT) -> list[Row]:
    """Rows for each pair, batch size and variant against the plain loop, and of the limit; none without a GPU."""
    if not torch.cuda.is_available():
        return []
    images = PillowImages(root)
    return [row for pair in pairs for size in BATCHES for row in compare(pair, size, root, folder, images, effort)]


def compare(pair: Pair, size: int, root: Path, folder: Path, images: PillowImages, effort: Effort) -> list[Row]:
    """One pair at one batch size, all contestants in alternation."""
    say(f"on the GPU: {pair}, batch {size}")
    torch.compiler.reset()  # else the networks of one pair count as recompilations of those of another
    common = ["trainer.accelerator=gpu", f"data.batch_size={size}", f"paths.cache_dir={folder}"]
    made = {name: Ours(composed(pair, root, [*common, *variant]), folder) for name, variant in VARIANTS.items()}
    ours = {name: contestant for name, contestant in made.items() if is_running(name, contestant, effort)}
    plain: Contestant = stepwise(reference_steps(pair, images, torch.device("cuda"), size))
    seconds = alternate({"plain loop": plain, **ours}, effort)
    rates = {name: [size / value for value in values] for name, values in seconds.items()}
    own = {name: rates[name] for name in ours}
    return [
        *(row(pair, size, name, rates) for name in ours),
        *shares(pair, own, torch.device("cuda"), f", batch {size}"),
    ]


def is_running(name: str, contestant: Contestant, effort: Effort) -> bool:
    """Make all steps that will be measured once, which fills the caches; False where PyTorch fails at them.

    PyTorch 2.11 cannot always record CUDA graphs of several trainings in one process.
    """
    try:
        contestant(effort.warm_up, effort.steps)
    except RuntimeError as error:
        say(f"  {name}: not measured, {str(error).splitlines()[0]}")
        return False
    return True


def row(pair: Pair, size: int, name: str, rates: dict[str, list[float]]) -> Row:
    return Row(
        "cuda",
        f"{pair}, batch {size}: {name}, against plain loop",
        statistics.median(rates["plain loop"]),
        statistics.median(rates[name]),
        "images/s",
        median_ratio(rates[name], rates["plain loop"]),
        rates,
    )
