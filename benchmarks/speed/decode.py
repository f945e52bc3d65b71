"""Decoding of ImageNet's JPEGs, as rows of the table."""

from pathlib import Path

from benchmarks import decoding
from benchmarks.speed.timing import Row, say

CONTESTANTS = {"ours": "all on the CPU", "ours_for_gpu": "as the workers deliver it to a GPU"}


def measure(root: Path, folder: Path) -> list[Row]:
    """Images/s of training crops against torchvision's reference pipeline; none where `root` has no imagenet/."""
    if not (root / "imagenet").is_dir():
        say("  no imagenet/ in ROOT: left out")
        return []
    result = decoding.measure(root / "imagenet")
    rates, quality = result["images_per_s"], result["psnr"]["all"]
    return [
        Row(
            "decoding",
            f"ImageNet's training crops {where}, against torchvision's reference (PSNR {quality:.0f} dB)",
            rates["reference"],
            rates[name],
            "images/s",
            result["ratio"][name],
            {"ratios": result["ratios"][name]},
        )
        for name, where in CONTESTANTS.items()
    ]
