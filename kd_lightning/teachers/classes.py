"""Which classes the weights of a teacher know, where these are not the data's, and what of it is of its classes."""

import torch
from torch import Tensor

from kd_lightning.batch import call
from kd_lightning.columns import VALIDATED
from kd_lightning.conversions import replayed
from kd_lightning.data import DataModule
from kd_lightning.data.data import example_input
from kd_lightning.errors import UserError
from kd_lightning.models import create_model, pretrained_num_classes
from kd_lightning.models.dry_run import dry_run
from kd_lightning.models.weights.weights import classes_in
from kd_lightning.networks import Network
from kd_lightning.networks.normalization import channels_of
from kd_lightning.tasks import Task
from kd_lightning.training.measuring import Metrics

OF_ITS_CLASSES = ("logits", "logits_distilled", "classifier_weight", "classifier_bias")  # taps


def classes_of(network: Network, data: DataModule) -> int | None:
    """Of how many classes the weights of a network from elsewhere are, 0 for no head, where not the data's; else None.

    Seen on a network of random weights, which leaves the random state as it is. Raises UserError for a file that cannot
    be read.
    """
    channels = channels_of(data)
    if channels is None or not (network.file or network.weights == "pretrained"):
        return None
    if network.file is None:
        known = pretrained_num_classes(network.settings)
    elif isinstance(network.model, str):
        with torch.random.fork_rng([]):
            built = create_model(network.model, data.num_classes, channels, stem=network.stem, key=network.model_key)
        place = f"{network.weights_place}={network.weights}"
        built = replayed(built, network.conversions, trusted=network.trusted or (), key=place)
        where = {"weights_key": network.weights_key, "weights_map": network.weights_map}
        known = classes_in(built, network.file, network.weights_place, **where)
    else:
        known = outputs_of(network, data)
    return None if known == data.num_classes else known


def outputs_of(network: Network, data: DataModule) -> int | None:
    """How many logits (B, C) a network of the user's own class gives; None where it gives others, or does not run."""
    example = example_input(data)
    try:
        with torch.random.fork_rng([]):
            built = network.like(data, example)
        with dry_run(built, example):
            output = call(built, example)
    except UserError:
        raise
    except Exception:  # which an inspection tells
        return None
    is_of_classes = isinstance(output, Tensor) and output.ndim == 2 and output.shape[1] > 1
    return int(output.shape[1]) if is_of_classes else None


def unmeasured(task: Task) -> Metrics:
    """The metrics of a network that answers another question than the task's: all of them null."""
    return dict.fromkeys([*task.measured(), *(f"{column.name}{VALIDATED}" for column in task.validated)])
