"""The flags of a command line apart from its overrides, wherever they stand."""

from collections.abc import Sequence

WITH_A_VALUE = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--cfg", "-c", "--package", "-p")
OPTIONAL_VALUE = {"--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")}


def divided(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags with their values, and overrides: argparse takes no flag between two overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    before = ""
    for argument in arguments:
        is_value = before in WITH_A_VALUE or argument in OPTIONAL_VALUE.get(before, ())
        (flags if is_value or argument.startswith("-") else overrides).append(argument)
        before = "" if is_value else argument
    return flags, overrides
