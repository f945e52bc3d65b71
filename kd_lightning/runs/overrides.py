"""Overrides, KEY=VALUE, as a run's folder holds them."""

import re


def quoted(value: str) -> str:
    """A string as Hydra's grammar takes it for itself, whatever is in it."""
    escaped = re.sub(r"(\\*)(?='|$)", r"\1\1", value).replace("'", "\\'")
    return f"'{escaped}'"


def unquoted(value: str) -> str:
    """A value of an override without the quotes around it."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] in "'\"" and value[0] not in value[1:-1] else value
