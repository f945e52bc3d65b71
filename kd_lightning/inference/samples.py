"""What an export is compared on: the run's test samples, files of the user's own, or noise where there is neither."""

from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from kd_lightning.batch import INPUT, main_batch
from kd_lightning.config.parts.described import data_of
from kd_lightning.data import DataModule
from kd_lightning.errors import UserError
from kd_lightning.exporting.alone import tensors_of
from kd_lightning.exporting.writing import Samples
from kd_lightning.inference.files import OF_DATA, files_of, images_of
from kd_lightning.networks.description import DescribedData, Description

BATCH = 64
NOISE = "noise"


def of_run(config: DictConfig, most: int) -> Samples:
    """Up to so many of the run's test samples, as its networks are given them. Raises UserError where they are gone."""
    data = data_of(config)
    data.check()
    data.prepare_data()
    data = data.in_this_process()
    data.setup()
    found: list[tuple[Tensor, ...]] = []
    for batch in first_loader(data.test_dataloader()):
        inputs = tensors_of(main_batch(moved(data, batch))[INPUT])
        taken = sum(len(one[0]) for one in found)
        found.append(tuple(one[: most - taken] for one in inputs))
        if taken + len(inputs[0]) >= most:
            break
    return found


def moved(data: DataModule, batch: Any) -> Any:
    """A batch with what the data do to it before and after it is moved to a device."""
    return data.on_after_batch_transfer(data.on_before_batch_transfer(batch, 0), 0)


def first_loader(loaders: Any) -> Any:
    if isinstance(loaders, Mapping):
        return next(iter(loaders.values()))
    return loaders[0] if isinstance(loaders, (list, tuple)) else loaders


def of_files(given: str, description: Description, most: int) -> Samples:
    """Up to so many images in files. Raises UserError where one cannot be read, or the network takes no images."""
    if description.transform is None:
        raise UserError(f"images={given}: the network of {description.data} takes no image files; give images=null")
    images = []
    for _, image in images_of(files_of(given, "images")[:most], description.transform):
        if isinstance(image, UserError):
            raise UserError(str(image).replace(OF_DATA, f"images={given}: ")) from image
        images.append(image)
    return [(part,) for part in torch.stack(images).split(BATCH)]


def noise(description: Description) -> Samples:
    """An example of what the network takes."""
    return [tensors_of(DescribedData(description).example()[INPUT])]
