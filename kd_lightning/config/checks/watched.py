"""Whether the data validate where something watches validation, and not by the test set."""

from omegaconf import DictConfig

from kd_lightning.data import DataModule
from kd_lightning.errors import UserError


def check_watched(config: DictConfig, data: DataModule, key: str = "") -> None:
    """Validation data are there for what selects, and for what sets the learning rate by them, below a `key`.

    Raises UserError.
    """
    watched = str((config.scheduler or {}).get("monitor") or "")
    early = (config.callbacks or {}).get("early_stopping")
    if data.validates_on == "none" and early:
        raise UserError(
            f"callbacks.early_stopping: {data.name} has no val_dataloader, and nothing tells when to stop; give it "
            "one, or callbacks.early_stopping=null"
        )
    if data.validates_on == "none" and watched.startswith("val/"):
        raise UserError(
            f"{key}scheduler.monitor={watched}: {data.name} has no val_dataloader; give it one, or watch train/loss"
        )
    if data.validates_on == "test" and early:
        raise UserError(
            "data.val_fraction=0: early stopping would select on the test set; set data.val_fraction above 0, or "
            "callbacks.early_stopping=null"
        )
    if data.validates_on == "test" and watched.startswith("val/"):
        raise UserError(
            f"data.val_fraction=0: {key}scheduler.monitor={watched} would set the learning rate by the test set; set "
            "data.val_fraction above 0, or watch train/loss"
        )
