"""What counts as bad input, and the one line that a command says of it."""

import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from kd_lightning.config.conf import options
from kd_lightning.config.refusals.os_errors import setting
from kd_lightning.errors import UserError

BAD_INPUT = (UserError, HydraException, OmegaConfBaseException)
PLUGINS = {  # configs that an extra of this package brings
    ("hydra/launcher", "joblib"): "joblib",
    ("hydra/launcher", "ray"): "ray",
    ("hydra/launcher", "submitit_local"): "submitit",
    ("hydra/launcher", "submitit_slurm"): "submitit",
    ("hydra/sweeper", "optuna"): "optuna",
}

IN_CONFIG = (  # a Python argument, and the key that stands for it
    (re.compile(r"(?<![\w=./\\-])terms\.student_\d+\.(?=\w)"), "loss."),
    (re.compile(r"(?<![\w=./\\-])student_taps\.student_\d+\b"), "student.taps"),
    (re.compile(r"(?<![\w=./\\-])terms\.(?=\w)"), "loss."),
    (re.compile(r"(?<![\w=./\\-])(student|teacher)_taps\b"), r"\1.taps"),
)
TYPED = {"None": "null", "True": "true", "False": "false"}  # Python's words, and those of a config


def one_line(error: BaseException) -> str:
    """An error's message for the terminal, on one line."""
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, UserError):
        return one_line(UserError(_with_key(str(error), str(error.__cause__))))
    told = _of_key(error)
    if told is not None:
        return told
    if not str(error):
        return one_line(error.__cause__) if error.__cause__ else type(error).__name__
    # A data loader's worker sends its error as text with the traceback in front; the message is what follows it.
    text = str(error).rsplit(f"{UserError.__name__}: ", 1)[-1]
    text = " ".join(text.partition("\nConfig search path")[0].split())
    missing = re.match(r"In '.+': Could not (?:load|find) '([^']+)/([^'/]+)'", text)
    return _no_such_config(missing[1], missing[2]) if missing else in_config_words(text)


def in_config_words(text: str) -> str:
    """A message of the library, which names Python arguments and values, with those of the config."""
    for argument, key in IN_CONFIG:
        text = argument.sub(key, text)
    return re.sub(r"^([^\s=]+=)(None|True|False)(?=:)", lambda found: found[1] + TYPED[found[2]], text)


def _of_key(error: BaseException) -> str | None:
    """What OmegaConf or Hydra say of one key, with the key in front."""
    if isinstance(error, InterpolationKeyError):
        return f"{error.full_key}: {str(error).splitlines()[0]}; set that key, or write \\${{ for these characters"
    if isinstance(error, (ConfigAttributeError, ConfigKeyError, MissingMandatoryValue)) and error.full_key:
        return f"{error.full_key}: is missing; give it a value"
    if isinstance(error, InterpolationResolutionError):
        place = re.search(r"\[Errno \d+\] (.+): '(.+)'", str(error))
        if place is None:
            return None
        named = setting(place[2], sys.argv[1:])
        named = named if "=" in named else f"{error.full_key}={named}"
        return f"{named}: {place[1]}; give a folder that can be written"
    merged = re.match(r"Error merging override (\S+)", str(error))
    if merged and error.__cause__:
        return f"{merged[1]}: {' '.join(str(error.__cause__).split())}"
    return None


def of_command_line(error: Exception, arguments: Sequence[str]) -> UserError:
    """What an exception says of the arguments of a command, which no job has begun with."""
    typed = [argument.partition("=") for argument in arguments]
    groups = [(group, value) for group, sign, value in typed if sign and (options(group) or group == "hydra")]
    if "Config group override must be" in str(error) and groups:
        group, value = next((one for one in groups if one[1] in ("", "null")), groups[-1])
        return UserError(f"{group}={value}: must be the name of a config; ~{group} leaves the group out")
    if isinstance(error, OSError):
        return UserError(f"hydra.run.dir={error.filename}: {error.strerror}; give a folder that can be written")
    refused = UserError(f"{' '.join(arguments)}: {type(error).__name__}: {error}")
    refused.__cause__ = error
    return refused


def _no_such_config(group: str, value: str) -> str:
    if (group, value) in PLUGINS:
        return f'{group}={value}: is not installed; pip install "kd-lightning[{PLUGINS[group, value]}]"'
    close = get_close_matches(value, options(group), n=3)
    remedy = (
        f"did you mean {' or '.join(close)}? --help lists all" if close else f"there are {', '.join(options(group))}"
    )
    return f"{group}={value}: no such config; {remedy}"


def _with_key(raised: str, message: str) -> str:
    """The message of a constructor with the config key in front where it does not name that itself."""
    key = raised.rpartition("full_key: ")[2].strip()
    return message if message.startswith(f"{key.partition('.')[0]}.") else f"{key}.{message}"


def raise_missing_key(error: BaseException, overrides: list[str], job: str) -> None:
    """Raise `UserError` where Hydra knows no key that all jobs of a sweep are given."""
    missing = re.match(r"Could not override '([^']+)'", str(error))
    if missing is None:
        return
    key, group = missing[1], missing[1].partition(".")[0]
    given = {line.partition("=")[0]: line for line in overrides}
    if group not in given or group == key:
        return
    raise UserError(
        f"{given.get(key, key)}: {given[group]} has no such key ({job}); sweep over configs that have it, "
        f"or give it as ++{given.get(key, key)}"
    ) from error
