"""Paths in plain values, where the folder that they are in was moved."""

from typing import Any


def moved(value: Any, before: str, now: str) -> Any:
    """Plain values in which paths below a folder, names of mappings too, lie in another one."""
    if isinstance(value, dict):
        return {moved(name, before, now): moved(inner, before, now) for name, inner in value.items()}
    if isinstance(value, list):
        return [moved(inner, before, now) for inner in value]
    if isinstance(value, str) and (value == before or value.startswith(f"{before}/")):
        return now + value.removeprefix(before)
    return value
