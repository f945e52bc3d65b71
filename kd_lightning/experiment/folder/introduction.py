"""What kd-train says before it begins."""

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from kd_lightning.data import ImageDataModule
from kd_lightning.experiment.config import plain
from kd_lightning.experiment.networks.build import adapted_to_its_like, model_name, roles
from kd_lightning.reporting.tables.config_tree import config_tree
from kd_lightning.reporting.tables.model_summary import model_summary
from kd_lightning.taps.inspection import Cost, cost_of
from kd_lightning.terminal import show


@rank_zero_only
def introduce(config: DictConfig, data: ImageDataModule) -> None:
    """Show a checked config, and what its networks cost."""
    show(config_tree(plain(config), f"kd-train, seed {config.seed}"))
    show(
        model_summary({role: (model_name(config[role]), cost(role, config, data)) for role in reversed(roles(config))})
    )


def cost(role: str, config: DictConfig, data: ImageDataModule) -> Cost:
    """What the student or the teacher of a config costs on its data."""
    adapt = adapted_to_its_like(config, data) if role == "student" else None
    return cost_of(role, plain(config[role].model), data.input_shape, data.num_classes, adapt)
