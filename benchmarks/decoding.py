"""Decoding of ImageNet's JPEGs for training: torchvision's reference pipeline and this package's, as Markdown.

    python benchmarks/decoding.py ROOT [--repeats N] [--json FILE]

ROOT holds train/<class>/*.JPEG and val/<class>/*.JPEG. Both pipelines read all of them, each several times an epoch,
with two worker processes. The reference gives normalised float batches; ours is measured up to the same, all on the
CPU, and as the workers deliver it, in bytes, for a GPU to do the rest. Their epochs take turns, and a ratio is the
median of those of neighbours.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional as F

from kd_lightning.data import Batch, ImageFolderDataModule
from kd_lightning.data.folders.crops import crop_box, draws, training_image
from kd_lightning.data.folders.image_files import IMAGENET_MEAN, IMAGENET_STD

WORKERS, BATCH_SIZE, SIZE = 2, 64, 224
COPIES = 4  # of each image in an epoch, so that its beginning and end do not count for much
VIEWS = 3  # of each image, to compare crops
Epoch = Callable[[], Iterator[Tensor]]


def measure(root: Path, repeats: int = 5) -> dict[str, Any]:
    """Images per second of each, their ratios, and how the crops differ from those of Pillow at full resolution."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = several_times(root.resolve(), Path(scratch))
        loader, prepare = ours(folder)
        epochs: dict[str, Epoch] = {
            "reference": reference(folder),
            "ours": lambda: map(prepare, loader),
            "ours_for_gpu": lambda: (batch["input"] for batch in loader),
        }
        images_per_second(epochs["reference"])  # starts the workers
        images_per_second(epochs["ours"])
        speeds = [{name: images_per_second(epoch) for name, epoch in epochs.items()} for _ in range(repeats)]
    ratios = {name: [speed[name] / speed["reference"] for speed in speeds] for name in epochs}
    return {
        "images_per_s": {name: statistics.median(speed[name] for speed in speeds) for name in epochs},
        "ratio": {name: statistics.median(values) for name, values in ratios.items()},
        "ratios": ratios,
        "psnr": crop_quality(sorted(path for path in root.rglob("*") if path.is_file())),
        "settings": {"workers": WORKERS, "batch_size": BATCH_SIZE, "image_size": SIZE, "repeats": repeats},
    }


def several_times(root: Path, folder: Path) -> Path:
    """A folder whose training images are all images of another, COPIES times, as links."""
    for split in ("train", "val"):
        for images in sorted((root / split).iterdir()):
            here = folder / "train" / images.name
            here.mkdir(parents=True, exist_ok=True)
            for copy in range(COPIES):
                (here / f"{split}{copy}").symlink_to(images)
    (folder / "val").symlink_to(root / "val")
    return folder


def reference(folder: Path) -> Epoch:
    """torchvision's own training pipeline, references/classification."""
    pipeline = [
        transforms.RandomResizedCrop(SIZE),
        transforms.RandomHorizontalFlip(),
        transforms.PILToTensor(),
        transforms.ConvertImageDtype(torch.float),
        transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
    images = ImageFolder(str(folder / "train"), transforms.Compose(pipeline))
    loader = DataLoader(images, BATCH_SIZE, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    return lambda: (batch for batch, _ in loader)


def ours(folder: Path) -> tuple[DataLoader[Batch], Callable[[Batch], Tensor]]:
    """The data module's loader, and what follows on the device: its hook, and the network's own normalisation."""
    data = ImageFolderDataModule(
        root=folder, name="imagenet", num_workers=WORKERS, batch_size=BATCH_SIZE, val_fraction=0
    )
    data.setup()

    def prepare(batch: Batch) -> Tensor:
        images: Tensor = data.on_after_batch_transfer(batch)["input"]
        return F.normalize(images, list(data.mean), list(data.std), inplace=True)

    return data.train_dataloader(), prepare


def images_per_second(epoch: Epoch) -> float:
    start = time.perf_counter()
    images = sum(len(batch) for batch in epoch())
    return images / (time.perf_counter() - start)


def crop_quality(files: list[Path]) -> dict[str, Any]:
    """PSNR in decibels over all crops, of the worst one, and the same of those that were decoded at a reduced scale."""
    errors, reduced = [], []
    for index, file in enumerate(files):
        full = Image.open(file).convert("RGB")
        for view in range(VIEWS):
            chances = draws(index, view)
            box = crop_box(full.height, full.width, chances)
            crop = training_image(file, SIZE, index, view)
            errors.append(squared_error(crop.flip(-1) if chances[-1] < 0.5 else crop, full, box))
            reduced.append(min(box[2:]) >= 2 * SIZE)
    at_reduced = [error for error, was in zip(errors, reduced, strict=True) if was]
    return {"crops": len(errors), **psnr(errors), "reduced": {"crops": len(at_reduced), **psnr(at_reduced)}}


def squared_error(crop: Tensor, full: Image.Image, box: tuple[int, int, int, int]) -> float:
    """The mean over a crop, against Pillow's of the image at full resolution."""
    exact = F.pil_to_tensor(F.resized_crop(full, *box, [SIZE, SIZE]))
    return (crop.float() - exact.float()).square().mean().item()


def psnr(errors: list[float]) -> dict[str, float | None]:
    """Of all crops together and of the worst; None without crops, or where no pixel differs."""
    return {"all": decibels(statistics.fmean(errors or [0])), "worst": decibels(max(errors, default=0))}


def decibels(squared_error: float) -> float | None:
    return 10 * math.log10(255**2 / squared_error) if squared_error else None


def table(result: dict[str, Any]) -> str:
    speed, ratio, quality = result["images_per_s"], result["ratio"], result["psnr"]
    names = {
        "reference": "torchvision: ImageFolder, RandomResizedCrop",
        "ours": "data=imagenet, all on the CPU",
        "ours_for_gpu": "data=imagenet, as the workers deliver it",
    }
    lines = ["| pipeline, 2 workers | images/s | ratio |", "|-|-|-|"]
    lines += [f"| {text} | {speed[name]:.0f} | {ratio[name]:.2f} |" for name, text in names.items()]
    reduced = quality["reduced"]
    text = f"PSNR of {quality['crops']} crops against Pillow's at full resolution: {quality['all']:.1f} dB"
    lines += ["", f"{text}, worst {quality['worst']:.1f} dB."]
    if reduced["all"] is not None:
        lines[-1] += f" Of them {reduced['crops']} decoded at a reduced scale: {reduced['all']:.1f} dB."
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="the folder that holds train/ and val/")
    parser.add_argument("--repeats", type=int, default=5, help="epochs of each")
    parser.add_argument("--json", type=Path, help="write the result there, too")
    arguments = parser.parse_args()
    result = measure(arguments.root, arguments.repeats)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))


if __name__ == "__main__":
    main()
