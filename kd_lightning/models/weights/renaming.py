"""Names in a file of weights as a model has them, where a user says which are called otherwise."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.models.weights.checkpoint_files import Group

ANYWHERE = "*."  # in front of what may stand anywhere in a name
LISTED = 5

Names = Mapping[str, str | None]


def check_names(names: Any, key: str) -> None:
    """Raise `UserError` unless it maps parts of names to others, to none, or to null."""
    if not isinstance(names, Mapping) or not names:
        raise UserError(f"{key}={names}: must be a mapping of names, such as {{backbone: '', head: fc}}, or null")
    for old, new in names.items():
        if not isinstance(old, str) or not old.removeprefix(ANYWHERE) or not isinstance(new, str | None):
            raise UserError(
                f"{key}.{old}={new}: maps the beginning of a name to another one, to '' or to null, which leaves its "
                "weights out"
            )


def renamed(groups: Sequence[Group], names: Names, key: str) -> list[Group]:
    """The tensors of a file by their new names, in whole parts between dots.

    `{backbone: ''}` takes a beginning away, `{head: fc}` gives another, `{criterion: null}` leaves its tensors out, and
    `{'*.gamma': '*.weight'}` renames a part wherever it stands. Of several beginnings the longest counts. `key` is how
    an error names the mapping.

    Raises UserError for names that no tensor has, and where two tensors would get one name.
    """
    unused, found = set(names), []
    for group in groups:
        tensors: dict[str, Tensor] = {}
        for name, value in group.tensors.items():
            new = renamed_one(name, names, unused)
            if new is None:
                continue
            if new in tensors:
                raise UserError(f"{key}: {name} and another one would both be {new}; give each a name of its own")
            tensors[new] = value
        found.append(replace(group, tensors=tensors))
    if unused:
        there = dict.fromkeys(name.partition(".")[0] for group in groups for name in group.tensors)
        shown = ", ".join([*there][:LISTED]) + (", …" if len(there) > LISTED else "")
        raise UserError(f"{key}.{min(unused)}: no name in the file has it; names begin with {shown}")
    return found


def renamed_one(name: str, names: Names, unused: set[str]) -> str | None:
    """A name as the mapping has it, None where it is left out; takes what it was renamed by from the `unused`."""
    beginnings = [old for old in names if f"{name}.".startswith(f"{old}.")]
    if beginnings:
        old = max(beginnings, key=len)
        unused.discard(old)
        new = names[old]
        if new is None:
            return None
        name = f"{new}{name.removeprefix(old)}".lstrip(".")
    for old, new in names.items():
        part = re.escape(old.removeprefix(ANYWHERE))
        if old.startswith(ANYWHERE) and re.search(rf"(?<![^.]){part}(?![^.])", name):
            unused.discard(old)
            if new is None:
                return None
            name = re.sub(rf"(?<![^.]){part}(?![^.])", new.removeprefix(ANYWHERE).replace("\\", r"\\"), name)
            name = re.sub(r"\.{2,}", ".", name).strip(".")
    return name
