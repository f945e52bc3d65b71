"""Where conf/ is, what stands in it, and its values in plain Python; --help gets by without OmegaConf."""

import re
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

import kd_lightning

TARGET = "_target_"
OF_THE_PLACE = ("_partial_", "_recursive_", "_convert_")  # how a place has a class made, whichever it is


def conf_dir() -> Path:
    """conf/ inside the installed package, or at the top of the clone."""
    package = Path(kd_lightning.__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def options(group: str) -> list[str]:
    """The values of a config group, without those of groups inside of it."""
    folder = conf_dir() / group
    inside = groups_inside(folder)
    files = [file.relative_to(folder).with_suffix("") for file in folder.rglob("*.yaml")]
    return sorted(str(file) for file in files if file.parts[0] not in inside)


@cache
def groups_inside(folder: Path) -> frozenset[str]:
    """The folders in a group's folder that are groups themselves: configs beside them choose one of their values."""
    below = [one.name for one in folder.iterdir() if one.is_dir()] if folder.is_dir() else []
    texts = [file.read_text(encoding="utf-8") for file in folder.glob("*.yaml")] if below else []
    return frozenset(name for name in below if any(re.search(rf"^ +- {name}: ", text, re.MULTILINE) for text in texts))


def plain(value: Any) -> Any:
    """A config's value as plain Python."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def arguments(part: Any) -> dict[str, Any]:
    """A part of the config as plain arguments by name, `_target_` among them. Raises for a value that is missing."""
    from omegaconf import OmegaConf

    values: Any = OmegaConf.to_container(part, resolve=True, throw_on_missing=True)
    return {str(name): value for name, value in values.items()}


def as_typed(overrides: Any) -> list[str]:
    """The overrides of a command line that Hydra records, with what refers to other keys as it was typed."""
    from omegaconf import OmegaConf

    typed: Any = OmegaConf.to_container(overrides, resolve=False)
    return [str(override) for override in typed]


def is_file(weights: str | None) -> TypeGuard[str]:
    """Whether `weights` names a file rather than a way to get them."""
    return weights not in (None, "train", "pretrained")
