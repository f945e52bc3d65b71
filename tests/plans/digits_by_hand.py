"""Networks on digits by hand, and what a store holds of their trainings."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from kd_lightning.data import DigitsDataModule

ONE_BATCH = ("data.train_samples=64", "data.augment=null")  # whose order decides nothing
PLATEAU = (
    "{_target_: kd_lightning.schedules.TorchSchedule, monitor: val/nll, "
    "make: {_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, _partial_: true}}"
)


def kept(store: Path) -> dict[str, dict[str, Tensor]]:
    """The weights that the store holds, by the terms of their training: the stage of its first signal, else 0."""
    found = {}
    for file in store.glob("networks/*/weights.safetensors"):
        key = json.loads((file.parent / "record.json").read_text())["cache_key"]
        terms = key.get("terms", {}).values()
        first = next((term["signals"][0] for term in terms), "teacher")
        found[first if isinstance(first, str) else first[0]] = load_file(file)
    return found


def layer(x: Tensor, weights: Mapping[str, Tensor], number: int, learns: bool = False) -> Tensor:
    """A layer of digits_cnn: ReLU of the normalised convolution, by the batch's statistics where it learns."""
    conv, bn = f"layer{number}.0", f"layer{number}.1"
    x = F.conv2d(x, weights[f"{conv}.weight"], stride=1 if number == 1 else 2, padding=1)
    statistics = (None, None) if learns else (weights[f"{bn}.running_mean"], weights[f"{bn}.running_var"])
    return F.batch_norm(x, *statistics, weights[f"{bn}.weight"], weights[f"{bn}.bias"], training=learns).relu()


def images() -> Tensor:
    """The 64 training images, as networks see them."""
    data = DigitsDataModule(batch_size=64, val_fraction=0.5, train_samples=64, augment=None, seed=0)
    data.setup()
    (batch,) = data.train_dataloader()
    return (data.on_after_batch_transfer(batch, 0)["input"].double() - data.mean[0]) / data.std[0]
