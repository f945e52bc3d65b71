"""Checking that a config has all of its groups and keys, each of its kind."""

from omegaconf import DictConfig, open_dict

from kd_lightning.errors import UserError
from kd_lightning.experiment.config import options

MADE = ("data", "task", "optimizer", "scheduler", "trainer", "curriculum")  # by their _target_
OPTIONAL = ("scheduler", "callbacks", "logger", "initialization", "curriculum")  # which a run can do without
REQUIRED = ("data", "task", "student", "teacher", "optimizer", "trainer", "paths")
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
    for group in MADE:
        if config[group] and config[group].get("_target_") is None:
            raise UserError(f"{group}._target_=null: nothing to make; choose {group}={' or '.join(options(group))}")
    for key in VALUES:
        if key not in config:
            raise UserError(f"{key}: is missing, and has no value of its own; give {key}=VALUE as in conf/train.yaml")
    for key in SWITCHES:
        if not isinstance(config[key], bool):
            raise UserError(f"{key}={config[key]}: must be true or false")
    check_paths(config.paths)


def check_paths(paths: DictConfig) -> None:
    """Folders are named by text. Raises UserError."""
    for key in ("data_dir", "output_dir", "cache_dir"):
        value = paths.get(key)
        if not isinstance(value, str) or not value:
            raise UserError(f"paths.{key}={value}: must be the path of a folder")


def check_members(config: DictConfig) -> None:
    """Terms, callbacks and loggers are mappings with `_target_`, by name; null takes one away. Raises UserError."""
    terms = {"initialization.loss": config.initialization.loss} if config.initialization else {}
    for key, group in {**{key: config[key] for key in ("loss", "callbacks", "logger")}, **terms}.items():
        for name, part in (group or {}).items():
            if part and (not isinstance(part, DictConfig) or part.get("_target_") is None):
                raise UserError(
                    f"{key}.{name}={part}: must be a mapping with _target_, as in conf/{key.rpartition('.')[2]}; "
                    f"{key}.{name}=null takes it away"
                )
