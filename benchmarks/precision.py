"""bfloat16 beside float32 on a part of CIFAR-100 that a CPU can carry, as Markdown.

    python benchmarks/precision.py ROOT [FOLDER]

ROOT holds cifar-100-python/; FOLDER is that of methods.py, whose teacher it uses, or trains. Ten classes, resnet20
teaches resnet8 by KD, the same images and weights for both precisions of a seed. On a CPU without bfloat16 its
arithmetic is the same, and slow.
"""

import sys
from pathlib import Path

from finished import shown, summary, train
from methods import SEEDS, of_ten_classes, teacher

PRECISIONS = ("32-true", "bf16-mixed")
SHORT = ("data.train_samples=1000", "trainer.max_epochs=4", "scratch=false")


def main() -> None:
    root = Path(sys.argv[1]).resolve()
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else "outputs/benchmark-methods").resolve()
    common = [*of_ten_classes(root), *teacher(folder, root), *SHORT, "student.model=resnet8"]
    for seed in SEEDS:
        for precision in PRECISIONS:
            train(folder / precision / str(seed), *common, f"trainer.precision={precision}", f"seed={seed}")
    print(table(folder))


def table(folder: Path) -> str:
    """Markdown: the last epoch's top-1 and NLL by precision, mean and standard deviation over the seeds."""
    lines = ["| trainer.precision | top-1 % | NLL |", "|-|-|-|"]
    top1 = {}
    for precision in PRECISIONS:
        students = [found["student"] for seed in SEEDS if (found := summary(folder / precision / str(seed)))]
        top1[precision] = [100 * student["top1_last"] for student in students]
        nll = [student["nll"] for student in students]
        lines.append(f"| {precision} | {shown(top1[precision])} | {shown(nll, 3)} |")
    gains = [half - full for full, half in zip(*(top1[precision] for precision in PRECISIONS), strict=True)]
    return "\n".join([*lines, "", f"bf16-mixed over 32-true, seed by seed: {shown(gains)} points."])


if __name__ == "__main__":
    main()
