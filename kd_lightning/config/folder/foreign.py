"""Other people's runs: what of their configs is built without being trusted."""

import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kd_lightning.errors import UserError

PACKAGES = ("kd_lightning", "lightning", "torch", "torchvision")
MODULE = "torch.nn.Module"
OWN = r"((student|teacher|scratch)\.)?"  # a network's own recipe
TRUSTED = r"(student|teacher)\.trusted(\..+)?"
TERMS = r"((initialization|teacher|scratch)\.)?loss"
# What is expected at a key: base classes, or the modules that classes without one are from. The first pattern counts.
EXPECTED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"(temperature|alpha)(\..+)?", ("kd_lightning.schedules",)),
    (r"data", ("lightning.LightningDataModule",)),
    (r"data\..+", (MODULE, "kd_lightning.data")),
    (r"plan", ("kd_lightning.plans",)),
    (r"plan\.term", ("kd_lightning.objective.Term",)),
    (r"plan\..+", (MODULE, "kd_lightning.plans", "kd_lightning.sources.Mastery", "kd_lightning.schedules")),
    (r"(scratch\.)?curriculum", ("kd_lightning.curricula.Curriculum",)),
    (r"(scratch\.)?curriculum\..+", ("kd_lightning.curricula",)),
    (r"task", ("kd_lightning.tasks.Task",)),
    (r"student", ("kd_lightning.networks.Student",)),
    (r"teacher", (MODULE, "kd_lightning.teachers.Teacher")),
    (r"teacher\.meta\..+", ("kd_lightning.schedules",)),
    (rf"{TERMS}\.[^.]+", ("kd_lightning.objective.Term",)),
    (rf"{TERMS}\.[^.]+\.sample_weight", (MODULE, "kd_lightning.losses.sample_weights")),
    (rf"{TERMS}\..+", (MODULE, "kd_lightning.schedules")),
    (rf"{OWN}optimizer", ("torch.optim.Optimizer",)),
    (
        rf"{OWN}scheduler",
        ("torch.optim.lr_scheduler.LRScheduler", "kd_lightning.schedules.learning_rate.LearningRateSchedule"),
    ),
    (rf"{OWN}trainer", ("lightning.Trainer",)),
    (
        rf"{OWN}trainer\..+",
        (
            "lightning.pytorch.strategies.Strategy",
            "lightning.pytorch.plugins.Precision",
            "lightning.pytorch.profilers.Profiler",
            "lightning.fabric.plugins.ClusterEnvironment",
            "lightning.fabric.plugins.CheckpointIO",
        ),
    ),
    (r"student\.adapt", (MODULE, "kd_lightning.sources.bias_free_classifier")),
    (r"(student|teacher)\..+", (MODULE,)),
    (r"callbacks\.[^.]+", ("lightning.pytorch.callbacks.Callback",)),
    (r"logger\.[^.]+", ("lightning.pytorch.loggers.Logger",)),
)


def check_foreign(config: Mapping[str, Any], where: str) -> None:
    """Raise `UserError` for what a config would have built besides the classes that are expected where they stand.

    These are classes of this package, torch, lightning and torchvision that are derived from what their place expects,
    at any depth; a plain function is none, but for one that the place names. `config` holds plain values; nothing in it
    is resolved, and nothing imported but these packages.
    """
    for key, value in entries(config):
        if isinstance(value, str) and "${" in value:
            raise UserError(f"{where}: {key}={value}: a run's config is stored resolved; this one was changed")
        if re.fullmatch(TRUSTED, key) and value is not None:
            raise UserError(
                f"{where}: {key}={value}: names a class of its own for a file of weights, so it may run any code; give "
                "trust=true if you trust whoever made the run"
            )
        if key.rpartition(".")[2] == "_target_" and not is_expected(key.rpartition(".")[0], value):
            raise UserError(
                f"{where}: {key}={value}: is no class of {', '.join(PACKAGES)} that belongs there, so it may run any "
                "code; give trust=true if you trust whoever made the run"
            )


def entries(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Each value that is no mapping or list, with its dotted key; in a list the key is the list's with its place."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        yield key, value
        return
    for name, each in inner:
        yield from entries(each, f"{key}.{name}" if key else str(name))


def is_expected(key: str, target: Any) -> bool:
    """Whether a `_target_` names a class that the place expects."""
    expected = next((bases for pattern, bases in EXPECTED if re.fullmatch(pattern, key)), ())
    if target in expected:
        return True
    found = named_class(target) if expected else None
    return found is not None and any(belongs(found, base) for base in expected)


def belongs(found: type, base: str) -> bool:
    """Whether a class is derived from a base class, or from this module where that is what is named."""
    expected = attribute(base)
    if isinstance(expected, type):
        return issubclass(found, expected)
    return found.__module__ == base or found.__module__.startswith(f"{base}.")


def named_class(target: Any) -> type | None:
    """The class of one of the known packages by its dotted name, or None."""
    if not isinstance(target, str) or target.partition(".")[0] not in PACKAGES:
        return None
    found = attribute(target)
    is_ours = isinstance(found, type) and found.__module__.partition(".")[0] in PACKAGES
    return found if is_ours else None


def attribute(name: str) -> Any:
    """What a dotted name stands for; None where there is nothing."""
    parts = name.split(".")
    found: Any = importlib.import_module(parts[0])
    for length, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part):
            try:
                importlib.import_module(".".join(parts[:length]))
            except ImportError:
                return None
        found = getattr(found, part, None)
    return found
