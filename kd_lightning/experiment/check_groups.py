"""Checking that a config has all of its groups and keys, each of its kind."""

from omegaconf import DictConfig, open_dict

from kd_lightning.config import options
from kd_lightning.errors import UserError

OPTIONAL = ("scheduler", "callbacks", "logger", "initialization")  # which a run can do without
REQUIRED = ("data", "student", "teacher", "optimizer", "trainer", "paths")
SWITCHES = ("scratch", "test", "channels_last")
VALUES = ("temperature", "alpha", "compile", "seed", *SWITCHES)


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
    for key in VALUES:
        if key not in config:
            raise UserError(f"{key}: is missing, and has no value of its own; give {key}=VALUE as in conf/train.yaml")
    for key in SWITCHES:
        if not isinstance(config[key], bool):
            raise UserError(f"{key}={config[key]}: must be true or false")
    check_paths(config.paths)


def check_paths(paths: DictConfig) -> None:
    """Folders are named by text."""
    for key in ("data_dir", "output_dir", "cache_dir"):
        value = paths.get(key)
        if not isinstance(value, str) or not value:
            raise UserError(f"paths.{key}={value}: must be the path of a folder")


def check_members(config: DictConfig) -> None:
    """Callbacks and loggers are mappings with `_target_`, by name; null takes one away."""
    for group in ("callbacks", "logger"):
        for name, part in (config[group] or {}).items():
            if part is not None and (not isinstance(part, DictConfig) or "_target_" not in part):
                raise UserError(
                    f"{group}.{name}={part}: must be a mapping with _target_, as in conf/{group}; "
                    f"{group}.{name}=null takes it away"
                )
