"""The key of what is made once: everything that decides it, as plain values."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from kd_lightning import __version__
from kd_lightning.store.source_code import own_code

Key = dict[str, Any]


def key_of(values: Mapping[str, Any], *made_of: Any, starts_from: Mapping[str, Key] | None = None) -> Key:
    """Plain values that decide something, with this package's version and the source of the user's own classes.

    Their classes are known by each `_target_` in the values, and in those that it is `made_of` besides. What a training
    `starts_from` are the keys of other networks by name.

    Examples:
        >>> from kd_lightning.store import key_of
        >>> sorted(key_of({"model": "resnet8", "seed": 0}))
        ['model', 'own_code', 'seed', 'version']
    """
    before = {name: digest(key) for name, key in (starts_from or {}).items()}
    with_before = {"starts_from": before} if before else {}
    return {**values, **with_before, "own_code": own_code(dict(values), *made_of), "version": __version__}


def digest(key: Key) -> str:
    """16 hexadecimal digits that stand for a key, whatever the order of its values."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
