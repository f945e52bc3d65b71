"""What stands in conf/, as it is written there."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kd_lightning.config.comments import LOADER
from kd_lightning.config.conf import conf_dir

GLOBAL = "_global_"
HEADER = re.compile(r"# @package (\S+)")


@cache
def packaged(name: str) -> dict[str, Any]:
    """A packaged config as it is written; empty where there is none. Not to be changed."""
    file = conf_dir() / f"{name}.yaml"
    values: Any = yaml.load(file.read_text(encoding="utf-8"), LOADER) if file.exists() else {}
    return values if isinstance(values, dict) else {}


def without_defaults(values: dict[str, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in values.items() if key != "defaults"}


@cache
def roots() -> tuple[str, ...]:
    """The configs that commands begin with: those that choose one of Hydra's."""
    return tuple(sorted(file.stem for file in conf_dir().glob("*.yaml") if "hydra" in defaults_of(file.stem)))


def defaults_of(root: str) -> dict[str, Any]:
    """The groups of a root config, each with what it chooses by default."""
    entries = packaged(root).get("defaults") or []
    return {str(group): choice for entry in entries if isinstance(entry, dict) for group, choice in entry.items()}


@cache
def groups() -> frozenset[str]:
    return frozenset(folder.name for folder in conf_dir().iterdir() if folder.is_dir())


@cache
def files_of(group: str) -> tuple[str, ...]:
    """The names of a group's configs, as in optimizer/sgd."""
    files = sorted((conf_dir() / group).rglob("*.yaml"))
    return tuple(str(file.relative_to(conf_dir()).with_suffix("")) for file in files)


@cache
def package_of(name: str) -> tuple[str, ...]:
    """Where in a composed config the values of a group's config stand, as a path of keys."""
    text = (conf_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    header = HEADER.match(text)
    package = header[1] if header else ".".join(Path(name).parent.parts)
    return () if package == GLOBAL else tuple(package.split("."))


def stands_at_its_name(group: str) -> bool:
    """Whether choosing a value of a group gives the config a key of the group's name: not so of a method."""
    return any(package_of(name) for name in files_of(group))


@cache
def holds_parts_by_name(group: str) -> bool:
    """Whether a group's keys are names of parts that are made, such as terms and callbacks."""
    for name in files_of(group) if group in groups() else ():
        parts = without_defaults(packaged(name))
        if package_of(name) and parts:
            return all(isinstance(part, dict) and "_target_" in part for part in parts.values())
    return False


def values_at(path: Sequence[str], root: str) -> Iterator[Any]:
    """What packaged configs have at a key below the root: the root config, those of its group, then all others."""
    yield from at(path, packaged(root))
    own = [group for group in defaults_of(root) if group == path[0]]
    others = [group for group in defaults_of(root) if group not in (*own, "hydra")]
    for group in (*own, *others):
        for name in files_of(group):
            place = package_of(name)
            if group in own or (place == () and mentions(name, path[0])):
                yield from at(path, nested(place, without_defaults(packaged(name))))


def nested(place: Sequence[str], values: Any) -> Any:
    for key in reversed(place):
        values = {key: values}
    return values


def at(path: Sequence[str], values: Any) -> Iterator[Any]:
    for key in path:
        if not isinstance(values, dict) or key not in values:
            return
        values = values[key]
    yield values


@cache
def mentions(name: str, key: str) -> bool:
    """Whether a config has a root key, seen without reading it as YAML."""
    text = (conf_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    return re.search(rf"^{re.escape(key)}:", text, re.MULTILINE) is not None
