"""Random transforms of a batch by torchvision and by kornia: images a second of one core.

`python benchmarks/augmentation.py`, with kornia installed. Both on uint8 images, as they lie in memory: kornia takes
floats, and the way there and back counts. Batch by batch torchvision draws once for all images, kornia once for each;
image by image, each from a seed of its own, both draw for each. `here` are this package's, which draw for each image of
a batch.
"""

import itertools
import time
from collections.abc import Callable

import kornia.augmentation as K
import torch
from kornia.augmentation import auto
from torch import Tensor
from torchvision.transforms import v2

from kd_lightning.data import CropFlip, InOrder

BATCH, ROUNDS = 64, 20
PAIRS = {
    "randaugment": (v2.RandAugment(), auto.RandAugment(n=2, m=9)),
    "trivialaugment": (v2.TrivialAugmentWide(), auto.TrivialAugment()),
    "autoaugment": (v2.AutoAugment(), auto.AutoAugment()),
    "color_jitter": (v2.ColorJitter(0.4, 0.4, 0.4), K.ColorJiggle(0.4, 0.4, 0.4)),
    "random_erasing": (v2.RandomErasing(), K.RandomErasing(p=0.5)),
}


def image_by_image(transform: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def apply(images: Tensor) -> Tensor:
        made = []
        for seed, image in enumerate(images):
            torch.default_generator.manual_seed(seed)
            made.append(transform(image[None])[0])
        return torch.stack(made)

    return apply


def of_uint8(transform: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda images: (transform(images / 255) * 255).to(torch.uint8)


def here(name: str, size: int) -> Callable[[Tensor], Tensor]:
    (augment,) = InOrder([name]).resolved(CropFlip(), size)
    epochs = itertools.count()
    return lambda images: augment(images, torch.arange(len(images)) + BATCH * next(epochs))


def images_a_second(transform: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """Over several rounds, for what is drawn decides how long it takes."""
    transform(images)
    start = time.process_time()
    for _ in range(ROUNDS):
        transform(images)
    return ROUNDS * len(images) / (time.process_time() - start)


def main() -> None:
    for size in (32, 128):
        images = torch.randint(256, (BATCH, 3, size, size), dtype=torch.uint8)
        print(f"{size} pixels, batches of {BATCH}, {torch.get_num_threads()} threads")
        print(f"{'':16}{'torchvision':>14}{'kornia':>10}{'torchvision, each':>20}{'kornia, each':>14}{'here':>10}")
        for name, (ours, theirs) in PAIRS.items():
            both = (ours, of_uint8(theirs))
            found = [images_a_second(each, images) for each in (*both, *map(image_by_image, both))]
            found.append(images_a_second(here(name, size), images))
            print("{:16}{:14,.0f}{:10,.0f}{:20,.0f}{:14,.0f}{:10,.0f}".format(name, *found))


if __name__ == "__main__":
    main()
