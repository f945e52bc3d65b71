"""Checking that a config has all of its groups and keys, each of its kind."""

from typing import Any

from omegaconf import DictConfig, open_dict

from kd_lightning.config.conf import options
from kd_lightning.config.parts.recipe import ALONE, OWN_PARTS
from kd_lightning.errors import UserError

DESCRIBED = ("kd_lightning.networks.", "kd_lightning.teachers.")

MADE = ("data", "task", "plan", "optimizer", "scheduler", "trainer", "curriculum")  # by their _target_
OPTIONAL = ("scheduler", "callbacks", "logger", "initialization", "curriculum")  # which a run can do without
REQUIRED = ("data", "task", "plan", "student", "teacher", "optimizer", "trainer", "paths")
SWITCHES = ("test", "channels_last")
VALUES = ("temperature", "alpha", "compile", "seed", ALONE, *SWITCHES)


def check_groups(config: DictConfig) -> None:
    """Raise `UserError` for a group or a key that is missing, or not of its kind; optional ones become null."""
    with open_dict(config):
        for group in OPTIONAL:
            config.setdefault(group, None)
    for group in REQUIRED:
        if not isinstance(config.get(group), DictConfig) or not config[group]:
            raise UserError(f"{group}={config.get(group)}: a run needs one; there are {', '.join(options(group))}")
    for group in OPTIONAL:
        if config[group] is not None and not isinstance(config[group], DictConfig):
            raise UserError(f"{group}={config[group]}: must be a mapping, as in conf/{group}, or null")
    for group in MADE:
        if config[group] and config[group].get("_target_") is None:
            raise UserError(f"{group}._target_=null: nothing to make; choose {group}={' or '.join(options(group))}")
    for key in VALUES:
        if key not in config:
            raise UserError(f"{key}: is missing, and has no value of its own; give {key}=VALUE as in conf/train.yaml")
    for key in SWITCHES:
        if not isinstance(config[key], bool):
            raise UserError(f"{key}={config[key]}: must be true or false")
    check_scratch(config[ALONE])
    check_paths(config.paths)


def check_scratch(given: Any) -> None:
    """A switch, or what the student alone has of its own. Raises UserError."""
    if isinstance(given, bool):
        return
    parts = ", ".join(OWN_PARTS[ALONE])
    if not isinstance(given, DictConfig):
        raise UserError(f"{ALONE}={given}: must be true or false, or a mapping of {parts}")
    for name, value in given.items():
        if name not in OWN_PARTS[ALONE]:
            raise UserError(f"{ALONE}.{name!s}={value}: nothing reads this key; there are {parts}")


def check_paths(paths: DictConfig) -> None:
    """Folders are named by text. Raises UserError."""
    for key in ("data_dir", "output_dir", "cache_dir"):
        value = paths.get(key)
        if not isinstance(value, str) or not value:
            raise UserError(f"paths.{key}={value}: must be the path of a folder")


def terms_in(owner: str, config: DictConfig) -> DictConfig | None:
    """The terms that a training other than the student's has of its own."""
    part = config.get(owner)
    terms = part.get("loss") if isinstance(part, DictConfig) and is_described(part) else None
    return terms if isinstance(terms, DictConfig) else None


def is_described(part: DictConfig) -> bool:
    """Whether a part is one of this package's kinds: a user's own class may have arguments of any meaning."""
    return str(part.get("_target_", DESCRIBED[0])).startswith(DESCRIBED)


def check_members(config: DictConfig) -> None:
    """Terms, callbacks and loggers are mappings with `_target_`, by name; null takes one away. Raises UserError."""
    terms = {f"{owner}.loss": loss for owner in (*OWN_PARTS, "initialization") if (loss := terms_in(owner, config))}
    for key, group in {**{key: config[key] for key in ("loss", "callbacks", "logger")}, **terms}.items():
        for name, part in (group or {}).items():
            if part and (not isinstance(part, DictConfig) or part.get("_target_") is None):
                raise UserError(
                    f"{key}.{name}={part}: must be a mapping with _target_, as in conf/{key.rpartition('.')[2]}; "
                    f"{key}.{name}=null takes it away"
                )
