"""Networks as an experiment names them: by a model with its weights, taps and normalisation; built when asked for."""

from typing import TYPE_CHECKING

from kd_lightning.lazy_names import lazy

if TYPE_CHECKING:
    from kd_lightning.networks.network import Network, short_name
    from kd_lightning.networks.student import Student

__all__ = ["Network", "Student", "short_name"]

# Lazy, for an inspection needs no Lightning.
__getattr__, __dir__ = lazy(
    __name__,
    {
        "Network": "kd_lightning.networks.network",
        "Student": "kd_lightning.networks.student",
        "short_name": "kd_lightning.networks.network",
    },
)
