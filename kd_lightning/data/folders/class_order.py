"""The classes in another order than their names have: that of a teacher from elsewhere."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from kd_lightning.data.values import as_folder
from kd_lightning.errors import UserError

KEY = "data.class_to_idx"
INNER = ("id2label", "label2id", "class_to_idx")  # where a file of more has it, such as a model's config.json
FORMS = 'a mapping such as {"cat": 0, "dog": 1} or {"0": "cat", "1": "dog"}, or a list of names in order'


def class_order(given: Any) -> list[str] | None:
    """The names of classes by their index, from a mapping of either direction, a list, or a file of one; None of none.

    A file is JSON or YAML, perhaps with more in it, as the config.json of a model of Hugging Face, or text with a name
    on each line. Raises UserError for anything else, and unless the
    indices are 0 to C - 1.

    Examples:
        >>> from kd_lightning.data.folders.class_order import class_order
        >>> class_order({"dog": 0, "cat": 1})
        ['dog', 'cat']
        >>> class_order({"0": "dog", "1": "cat"})  # as Hugging Face's id2label
        ['dog', 'cat']
    """
    if given is None:
        return None
    key = f"{KEY}={given}" if isinstance(given, (str, Path)) else KEY
    values = of_file(given, key) if isinstance(given, (str, Path)) else given
    if isinstance(values, Mapping):
        values = next((values[name] for name in INNER if isinstance(values.get(name), Mapping)), values)
        order = of_mapping({str(name): value for name, value in values.items()}, key)
    elif isinstance(values, Sequence) and not isinstance(values, str):
        order = [str(name) for name in values]
    else:
        raise UserError(f"{key}: holds {type(values).__name__}; give {FORMS}")
    if len(order) < 2 or len({*order}) < len(order):
        raise UserError(f"{key}: names {len({*order})} classes in {len(order)} places; give each one, two at least")
    return order


def of_file(given: str | Path, key: str) -> Any:
    """What a file holds, as its suffix says. Raises UserError for one that cannot be read."""
    path = as_folder(KEY, given)
    assert path is not None
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            return json.loads(text)
        if path.suffix.lower() in (".yaml", ".yml"):
            return yaml.safe_load(text)
    except FileNotFoundError:
        raise UserError(f"{key}: no such file; give one with {FORMS}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise UserError(f"{key}: cannot be read ({reason}); give a JSON, YAML or text file") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def of_mapping(values: Mapping[str, Any], key: str) -> list[str]:
    """Names in order, of names by index or indices by name. Raises UserError unless the indices are 0 to C - 1."""
    by_name = values
    if not all(is_index(value) for value in values.values()):
        if not all(name.isdecimal() for name in values):
            raise UserError(f"{key}: give {FORMS}")
        by_name = {str(value): int(index) for index, value in values.items()}
    order = sorted(by_name, key=lambda name: int(by_name[name]))
    indices = [int(by_name[name]) for name in order]
    if indices != list(range(len(values))):
        raise UserError(f"{key}: the indices of {len(values)} classes must be 0 to {len(values) - 1}, each once")
    return order


def is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def ordered(found: Sequence[str], order: Sequence[str] | None, place: str) -> list[str]:
    """The classes found in some place, sorted, in the given order; which may have more.

    Raises UserError for one that it does not name.
    """
    if order is None:
        return list(found)
    missing = [name for name in found if name not in {*order}]
    if missing:
        some = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise UserError(
            f"{KEY}: lacks {len(missing)} of the classes in {place} ({some}); name all, as they are called there"
        )
    return list(order)
