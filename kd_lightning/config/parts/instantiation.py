"""Making the objects that a config names, where whatever they raise becomes the line of the argument that is wrong."""

import copy
import re
from collections.abc import Callable
from typing import Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kd_lightning.config.refusals.bad_input import one_line
from kd_lightning.errors import UserError

Made = TypeVar("Made")


def make(part: Any, key: str, build: Callable[[Any], Made] = instantiate) -> Made:
    """What `build` makes of a part of the config. Raises `UserError` with the key of the argument that it fails for."""
    try:
        return build(part)
    except UserError:
        raise
    except Exception as error:
        raise explained(error, part, key, build) from error


def explained(error: Exception, part: Any, key: str, build: Callable[[Any], object]) -> UserError:
    """What a part's exception says: the key, its value, and what the class has to say of it."""
    cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
    if isinstance(cause, UserError):
        return UserError(one_line(error))
    message = " ".join(str(cause).split()) or type(cause).__name__
    name = culprit(part, message, build) if isinstance(part, DictConfig) else None
    if name is not None:
        return UserError(f"{key}.{name}={part[name]}: {message}")
    where = re.search(r"full_key: (\S+)", str(error))
    inner = where[1].removeprefix(f"{key}.") if where and where[1].startswith(f"{key}.") else ""
    made = OmegaConf.select(part, inner) if inner else part
    key = f"{key}.{inner}" if inner else key
    target = made.get("_target_") if isinstance(made, DictConfig) else None
    return UserError(f"{f'{key}._target_={target}' if target else key}: {type(cause).__name__}: {message}")


def culprit(part: DictConfig, message: str, build: Callable[[Any], object]) -> str | None:
    """The argument without which a part can be made; those that the message names are tried first."""
    names = [str(name) for name in part if not str(name).startswith("_")]
    for name in sorted(names, key=lambda name: not re.search(rf"\b{re.escape(name)}\b", message)):
        if can_be_made(without(part, name), build):
            return name
    return None


def without(part: DictConfig, name: str) -> DictConfig:
    """The part without one of its arguments."""
    rest = copy.deepcopy(part)
    rest._set_parent(part._get_parent())
    OmegaConf.set_struct(rest, False)
    del rest[name]
    return rest


def can_be_made(part: DictConfig, build: Callable[[Any], object]) -> bool:
    try:
        build(part)
    except Exception:
        return False
    return True
