"""Whether the values that a config gives a class are of the kinds that its signature names."""

import inspect
import logging
import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.utils import get_object

from kd_lightning.config.conf import plain
from kd_lightning.config.refusals.bad_input import one_line
from kd_lightning.errors import UserError
from kd_lightning.store.source_code import RELEASED

LISTS, MAPPINGS = (list, tuple, Sequence), (dict, Mapping)
NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}


def check_arguments(part: Any, key: str) -> None:
    """Raise `UserError` for a class that is not found, or an argument that one of this or a known package cannot take.

    `part` is searched for `_target_` in all depths. What a class of the user's own takes is seen when it is made.
    """
    part = plain(part)
    if isinstance(part, Mapping):
        if "_target_" in part:
            check_call(part, key)
        for name, inner in part.items():
            check_arguments(inner, f"{key}.{name}")
    elif isinstance(part, list):
        for inner in part:
            check_arguments(inner, key)


def check_call(call: Mapping[Any, Any], key: str) -> None:
    """The class or function is there and has these arguments, of these kinds. Raises UserError."""
    target = found(call["_target_"], key)
    if not str(call["_target_"]).startswith(RELEASED):
        return
    parameters, hints = dict(parameters_of(target)), hints_of(target)
    for name, value in call.items():
        if str(name).startswith("_"):
            continue
        refuse_further(call["_target_"], str(name), value, key)
        default = parameters[name].default if name in parameters else inspect.Parameter.empty
        if not fits(value, hints.get(name, Any)) and not (value is None and default is None):
            raise UserError(f"{key}.{name}={value}: must be {described(hints[name])}")


def refuse_further(target: str, name: str, value: Any, key: str) -> None:
    """Raise `UserError` where the class or function has no argument of this name."""
    if takes(target, name, key):
        return
    names = [name for name, _ in parameters_of(found(target, key))]
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UserError(
        f"{key}.{name}={value}: {target} has no such argument; {hint}it takes {', '.join(names)}; where another config "
        f"names it, ~{key}.{name} leaves it out"
    )


def takes(target: str, name: str, key: str) -> bool:
    """Whether a class or function has an argument of this name, or takes any. Raises UserError for one not found."""
    parameters = dict(parameters_of(found(target, key)))
    return name in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def found(name: Any, key: str) -> Any:
    """What `_target_` names. Raises UserError where it names nothing."""
    if not isinstance(name, str) or not name:
        raise UserError(f"{key}._target_={name}: must be the path of a class or function, as in torch.optim.SGD")
    log = logging.getLogger("hydra.utils")
    log.disabled = True  # it would say the same
    try:
        return get_object(name)
    except Exception as error:  # whatever an import may raise
        raise UserError(f"{key}._target_={name}: is not found ({one_line(error)}); check the path") from error
    finally:
        log.disabled = False


def parameters_of(target: Any) -> Iterator[tuple[str, inspect.Parameter]]:
    """What it can be called with by name; of a class that hands further ones on to its parents theirs too."""
    for owner in owners_of(target):
        try:
            parameters = inspect.signature(owner).parameters
        except (TypeError, ValueError):
            continue
        further = [parameter for parameter in parameters.values() if parameter.kind is parameter.VAR_KEYWORD]
        yield from ((name, one) for name, one in parameters.items() if one not in further and name != "self")
        if not further:
            return
    yield "**", inspect.Parameter("further", inspect.Parameter.VAR_KEYWORD)


def hints_of(target: Any) -> dict[str, Any]:
    """The types of what it is called with, as far as they are known."""
    hints: dict[str, Any] = {}
    for owner in owners_of(target):
        try:
            hints = {**get_type_hints(owner), **hints}
        except Exception:  # of a name that stands in no module
            continue
    return hints


def owners_of(target: Any) -> list[Any]:
    """The functions that are called with its arguments: of a class its own and its parents' constructors."""
    if not inspect.isclass(target):
        return [target]
    return [parent.__dict__["__init__"] for parent in target.__mro__[:-1] if "__init__" in parent.__dict__]


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value can be of a type; a mapping with `_target_` can be anything."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(value, Mapping) and "_target_" in value:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    kind = origin or hint
    if kind in LISTS:
        inner = [argument for argument in arguments if argument is not Ellipsis]
        return isinstance(value, list) and all(any(fits(one, argument) for argument in inner or [Any]) for one in value)
    if kind in MAPPINGS:
        return isinstance(value, Mapping)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    if kind is int:
        return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value % 1 == 0)
    if kind in (str, Path):
        return isinstance(value, str)
    if kind in (bool, type(None)):
        return isinstance(value, kind)
    return not is_object(kind)


def is_object(kind: Any) -> bool:
    """Whether only a `_target_` can make it: a function, or a class of a known package."""
    return kind is Callable or (inspect.isclass(kind) and f"{kind.__module__}.".startswith(RELEASED))


def described(hint: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(described(argument) for argument in arguments))
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    kind = origin or hint
    if kind in LISTS:
        return "a list of names" if any("str" in str(argument) for argument in arguments) else "a list"
    if kind in MAPPINGS:
        return "a mapping"
    if kind is type(None):
        return "null"
    return NAMES.get(kind) or f"a mapping with _target_ ({getattr(kind, '__name__', kind)})"
