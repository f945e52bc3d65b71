"""What a training is called where many are looked at together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Description:
    """One training: `role` is what its plan calls it, `group` its sweep or its run; `config` has dotted keys.

    `is_result` says that it is what the run is about. `compared` are the names of the logged scalars that such
    trainings are compared by.
    """

    role: str
    name: str
    group: str
    tags: list[str]
    config: dict[str, Any]
    compared: Sequence[str] = ()
    is_result: bool = True
