"""Keeping secrets of the environment out of what is written."""

import os
import re
from typing import Any

NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
HIDDEN = "***"
SHORTEST = 6  # characters; a shorter value, such as "true", stands for other things too


def without_secrets(value: Any) -> Any:
    """Plain values in which no environment variable whose name looks like a secret's is told; `***` stands for it."""
    secrets = [text for name, text in os.environ.items() if NAMES.search(name) and len(text) >= SHORTEST]
    return _without(value, secrets) if secrets else value


def _without(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(inner, secrets) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without(inner, secrets) for inner in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
    return value
