"""What counts as bad input, and the one line that a command says of it."""

import re
from difflib import get_close_matches

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.config import options
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
    (re.compile(r"(?<![\w=./\\-])terms\.(?=\w)"), "loss."),
    (re.compile(r"(?<![\w=./\\-])(student|teacher)_taps\b"), r"\1.taps"),
)


def one_line(error: BaseException) -> str:
    """An error's message for the terminal, on one line."""
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, UserError):
        return one_line(UserError(_with_key(str(error), str(error.__cause__))))
    if not str(error):
        return one_line(error.__cause__) if error.__cause__ else type(error).__name__
    # A data loader's worker sends its error as text with the traceback in front; the message is what follows it.
    text = str(error).rsplit(f"{UserError.__name__}: ", 1)[-1]
    text = " ".join(text.partition("\nConfig search path")[0].split())
    missing = re.match(r"In '.+': Could not (?:load|find) '([^']+)/([^'/]+)'", text)
    return _no_such_config(missing[1], missing[2]) if missing else in_config_words(text)


def in_config_words(text: str) -> str:
    """A message of the library, which names Python arguments, with the config's keys."""
    for argument, key in IN_CONFIG:
        text = argument.sub(key, text)
    return text


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
