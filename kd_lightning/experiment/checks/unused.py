"""Root keys that no term of the loss takes: given on a command line they are refused, for they would change nothing."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.errors import UserError
from kd_lightning.experiment.config import conf_dir

KEYS = ("temperature", "alpha")  # of the soft targets; a method may have its own instead
PLACES = ("paths", "logger", *KEYS)
TRIED = (0.25, 0.75)  # two values that either may have


def given(overrides: Sequence[str]) -> dict[str, str]:
    """Those of the keys that a command line gives, each with its override as it was typed."""
    keys = {override.partition("=")[0].lstrip("+"): override for override in overrides}
    return {key: keys[key] for key in KEYS if key in keys}


def refuse_unused(config: DictConfig, overrides: Sequence[str]) -> None:
    """Raise `UserError` for a key that the command line of a single run gives and that nothing takes."""
    for key, override in given(overrides).items():
        if not is_taken(key, config):
            raise unused(key, override, config)


def unused(key: str, override: str, config: DictConfig) -> UserError:
    return UserError(f"{override}: no term of the loss takes the run's {key}; {remedy(key, config)}")


def set_for_nothing(config: DictConfig, overrides: Sequence[str]) -> str | None:
    """A line on a key that a user's own config sets, to another value than the default, and that nothing takes."""
    usual: Any = OmegaConf.load(conf_dir() / "train.yaml")
    for key in KEYS:
        if key not in given(overrides) and config.get(key) != usual[key] and not is_taken(key, config):
            return f"{key}={config[key]}, as a config sets it, has no effect: no term of the loss takes the run's {key}"
    return None


def is_taken(key: str, config: DictConfig) -> bool:
    """Whether anything but places and names changes with the key."""
    try:
        one, other = (with_value(key, value, config) for value in TRIED)
    except OmegaConfBaseException:  # told of where the config is checked
        return True
    return one != other


def with_value(key: str, value: float, config: DictConfig) -> dict[Any, Any]:
    changed = copy.deepcopy(config)
    OmegaConf.update(changed, key, value, force_add=True)
    values = OmegaConf.to_container(changed, resolve=True)
    assert isinstance(values, dict)
    return {name: part for name, part in values.items() if name not in PLACES}


def remedy(key: str, config: DictConfig) -> str:
    """What to set instead: what the terms have of the same name, and instead of alpha the terms' weights."""
    found = [path for group in ("loss", "initialization.loss") for path in own_keys(key, group, config)]
    if not found:
        return "leave it out"
    listed = f"{', '.join(found[:-1])} or {found[-1]}" if len(found) > 1 else found[0]
    return f"set {listed} instead"


def own_keys(key: str, group: str, config: DictConfig) -> Iterator[str]:
    """The dotted keys of a group of terms that stand for a root key."""
    terms = OmegaConf.select(config, group, default=None)
    values: Any = OmegaConf.to_container(terms, resolve=False) if OmegaConf.is_config(terms) else None
    for name, term in (values or {}).items():
        if not isinstance(term, dict):
            continue
        if key == "alpha":
            yield f"{group}.{name}.weight" + (".value" if isinstance(term.get("weight"), dict) else "")
        yield from paths_to(key, term.get("loss"), f"{group}.{name}.loss")


def paths_to(key: str, values: Any, prefix: str) -> Iterator[str]:
    """The dotted keys below a loss that end with the name of a root key, or its plural."""
    for name, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, dict):
            yield from paths_to(key, value, f"{prefix}.{name}")
        elif str(name).endswith((key, f"{key}s")):
            yield f"{prefix}.{name}"
