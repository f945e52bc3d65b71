"""A command line as Hydra reads it: flags first, and in quotes what can be meant only as a path."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from kd_lightning.cli.flags import divided
from kd_lightning.errors import UserError
from kd_lightning.runs.values import quoted

SWEEPING = re.compile(r"-m|--multirun|hydra\.mode=MULTIRUN|hparams_search=(?!null).+")
A_PATH = re.compile(
    r"(.*\.)?runs?|(.*[._])?ckpt|.*(weights|root|dir|dirpath|path|file|filename|folder)|input|output|images"
)
WITH_COMMAS = "format"  # of several formats

READ = re.compile(r".*(weights|ckpt|ckpt_path)")  # keys of files that have to be there


def readable(arguments: Sequence[str]) -> list[str]:
    """The same arguments as Hydra's parser and its grammar take them; raises `UserError` for what they cannot."""
    flags, overrides = divided(arguments)
    sweeps = any(SWEEPING.fullmatch(argument) for argument in arguments)
    return [*flags, *(with_quotes(override, sweeps) for override in overrides)]


def with_quotes(override: str, sweeps: bool) -> str:
    """An override whose value is taken as it is, if it can be meant only as a path; any other one unchanged.

    Raises UserError for one that cannot be read.
    """
    key, sign, value = override.partition("=")
    sweeps = sweeps and not key.startswith("hydra.")  # which cannot be swept over
    names_a_file = A_PATH.fullmatch(key.lstrip("+")) is not None or key == WITH_COMMAS
    parsed = parse(override)
    if parsed is not None:
        return f"{key}={quoted(value)}" if names_a_file and is_misread(parsed, sweeps) else override
    if not sign or not (names_a_file or "/" in value):
        raise unreadable(override)
    if sweeps and "," in value:
        parts = value.split(",")
    elif names_a_file and re.fullmatch(r"\[[^\[\]{}'\"]*\]", value):
        return f"{key}=[{','.join(quoted(part.strip()) for part in value[1:-1].split(','))}]"
    else:
        parts = [value]
    misread = [part for part in parts if parse(f"{key}={part}") is None]
    refuse_missing(key, misread)
    tried = ",".join(quoted(part) if part in misread else part for part in parts)
    if parse(f"{key}={tried}") is None:
        raise unreadable(override)
    return f"{key}={tried}"


def refuse_missing(key: str, paths: Sequence[str]) -> None:
    """Raise `UserError` for a file of weights that is not there: what has signs of the grammar in it may be no path."""
    for path in paths if READ.fullmatch(key) else ():
        if "${" not in path and not Path(path).expanduser().exists():
            raise UserError(f"{key}={path}: no such file; a value that is no path wants quotes of its own")


def parse(override: str) -> Override | None:
    """What Hydra's grammar makes of an override; None where it makes nothing."""
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def is_misread(parsed: Override, sweeps: bool) -> bool:
    """Whether a path was taken for something else: a number, a truth value, or with its commas for a sweep."""
    if parsed.is_sweep_override():
        return not sweeps and bool(getattr(parsed.value(), "simple_form", False))
    value: Any = parsed.value()
    return isinstance(value, (bool, int, float))


def unreadable(override: str) -> UserError:
    key, sign, value = override.partition("=")
    if not sign:
        return UserError(f"{override}: is neither a flag nor KEY=VALUE; --help lists the keys")
    example = f"{key}={quoted(value)}"
    example = shlex.quote(example) if re.search(r'["$`\\]', example) else f'"{example}"'
    return UserError(
        f"{override}: cannot be read; a value with signs of the grammar in it, such as = , ( [ {{, wants quotes of its "
        f"own inside those of the shell: {example}"
    )
