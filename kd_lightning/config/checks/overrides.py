"""Which of the overrides that were typed makes a config fail."""

from collections.abc import Callable

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig


def culprit_override(works: Callable[[DictConfig], object]) -> str | None:
    """The last override without which the same command composes a config that `works` takes without an exception."""
    if not (HydraConfig.initialized() and GlobalHydra.instance().is_initialized()):
        return None
    hydra = HydraConfig.get()
    typed = list(hydra.overrides.task)
    for position in reversed(range(len(typed))):
        try:
            works(compose(hydra.job.config_name, [*typed[:position], *typed[position + 1 :]]))
        except Exception:  # another one, or it does not compose
            continue
        return str(typed[position])
    return None
