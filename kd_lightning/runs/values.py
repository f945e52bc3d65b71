"""What runs were given for a key, as strings of a command line, some of them numbers."""

from collections.abc import Iterable, Sequence


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
