"""What a training is called where many are looked at together."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Description:
    """One training: `role` is teacher, scratch or student, `group` its sweep or its run; `config` has dotted keys."""

    role: str
    name: str
    group: str
    tags: list[str]
    config: dict[str, Any]
