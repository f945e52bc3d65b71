"""A conversion's class and arguments as plain values, and a conversion made of them again, if its class is trusted."""

import importlib
import inspect
import json
from collections.abc import Collection
from typing import Any

from kd_lightning.conversions.conversion import Conversion
from kd_lightning.errors import UserError

Entry = dict[str, Any]  # conversion (a dotted name), arguments and record, all plain values

PACKAGE = "kd_lightning.conversions"


def made(entry: Entry, trusted: Collection[str], key: str) -> Conversion:
    """The conversion of an entry. Raises UserError for one that is not trusted, not there, or not made so."""
    name = str(entry["conversion"])
    is_own = name.startswith(f"{PACKAGE}.")
    if not is_own and name not in trusted:
        raise UserError(
            f"{key}: its network was converted by {name}, which is no class of {PACKAGE}, so it may run any code; name "
            f"it as trusted, as in {key.partition('.')[0]}.trusted=[{name}], if you trust whoever wrote that"
        )
    module, _, kind_name = name.rpartition(".")
    try:
        kind: Any = getattr(importlib.import_module(module), kind_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{key}: its network was converted by {name}, which is not found ({error})") from error
    if not (inspect.isclass(kind) and issubclass(kind, Conversion)):
        raise UserError(f"{key}: its network was converted by {name}, which is no conversion: it has no fit and apply")
    try:
        conversion: Conversion = kind(**entry["arguments"])
    except (TypeError, UserError) as error:
        raise UserError(f"{key}: its network was converted by {name}, which cannot be made so: {error}") from error
    return conversion


def name_of(conversion: Conversion) -> str:
    """The dotted name by which a conversion's class is found. Raises UserError for one that is not found so."""
    kind = type(conversion)
    if not isinstance(conversion, Conversion):
        raise UserError(f"conversion={kind.__name__}: must have the methods fit and apply; see {PACKAGE}.Conversion")
    public = getattr(importlib.import_module(PACKAGE), kind.__name__, None)
    if public is kind:
        return f"{PACKAGE}.{kind.__name__}"
    if "." in kind.__qualname__:
        raise UserError(
            f"conversion={kind.__qualname__}: is defined within a function or class, where nobody finds it again; "
            "define it at the top of a module"
        )
    return f"{kind.__module__}.{kind.__name__}"


def arguments_of(conversion: Conversion) -> dict[str, Any]:
    """What a conversion is made with: its attributes of the same names. Raises UserError where it has them not."""
    kind = type(conversion)
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if not hasattr(conversion, name):
            raise UserError(
                f"conversion={kind.__name__}: keeps no attribute {name}, which it is made with; keep it, as "
                "dataclasses do"
            )
        found[name] = getattr(conversion, name)
    return plain(found, f"conversion={kind.__name__}")


def plain(values: Any, key: str) -> dict[str, Any]:
    """A mapping as JSON gives it back. Raises UserError for what is not plain values."""
    try:
        text = json.dumps(values, allow_nan=False)
        back = json.loads(text)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{key}: keeps what is no plain value ({error}); give numbers, text, lists and mappings"
        ) from error
    if not isinstance(back, dict):
        raise UserError(f"{key}: gave {type(values).__name__}; give a mapping of plain values")
    return back
