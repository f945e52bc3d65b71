"""What runs were given for a key, as strings of a command line, some of them numbers."""

import re
from collections.abc import Iterable, Sequence

MADE = re.compile(r"\{'?_target_'?: *['\"]?(?:\w+\.)*(\w+)['\"]?,? *([^{}]*)\}")  # the innermost mapping with _target_


def in_order(values: Sequence[str]) -> list[str]:
    """The distinct values, by number where they are all numbers."""
    distinct = list(dict.fromkeys(values))
    found = numbers(distinct)
    return sorted(distinct) if found is None else [value for _, value in sorted(zip(found, distinct, strict=True))]


def numbers(values: Iterable[str]) -> list[float] | None:
    """All values as numbers, or None where one is none."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return None


def legible(value: str) -> str:
    """A value in which what is made by a `_target_` stands as a call: `Linear(start=8, end=1)`."""
    while found := MADE.search(value):
        arguments = re.sub(r",\s*", ", ", re.sub(r"'?(\w+)'?:\s*", r"\1=", found[2]))
        value = f"{value[: found.start()]}{found[1]}({arguments}){value[found.end() :]}"
    return value


def quoted(value: str) -> str:
    """A string as Hydra's grammar takes it for itself, whatever is in it."""
    escaped = re.sub(r"(\\*)(?='|$)", r"\1\1", value).replace("'", "\\'")
    return f"'{escaped}'"


def unquoted(value: str) -> str:
    """A value of an override without the quotes around it."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] in "'\"" and value[0] not in value[1:-1] else value
