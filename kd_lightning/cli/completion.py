"""The tab key: what may follow on a command line, read from the files alone; Hydra installs what asks for it."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from glob import glob
from pathlib import Path

from kd_lightning.cli.flags import divided
from kd_lightning.cli.searched import seen
from kd_lightning.config.files import ConfigFiles, Key, chosen
from kd_lightning.errors import UserError

FLAGS = ("--help", "--cfg", "--resolve", "--multirun", "--config-dir", "--config-name", "--version", "--hydra-help")
WITH_A_VALUE = {"--cfg": ("job", "hydra", "all"), "-c": ("job", "hydra", "all")}
PLAIN = re.compile(r"[\w./@-]+")  # a value that a shell takes without quotes
A_PATH = re.compile(r"~?[\w.-]*/.*|\.+")


def complete(root: str, shell: str) -> None:
    """Print what may stand at the end of the line that a shell tells of."""
    found = candidates(root, os.environ.get("COMP_LINE", ""))
    print(("\n" if shell == "fish" else " ").join(found))


def candidates(root: str, line: str) -> list[str]:
    """What the last word of a command line may become, or what may stand behind a space."""
    words = line.split()[1:]
    word = words.pop() if words and not line[-1].isspace() else ""
    before = words[-1] if words else ""
    if before.startswith("--config") or before in WITH_A_VALUE:
        return starting(word, WITH_A_VALUE.get(before, ()))
    if word.startswith("-"):
        return starting(word, FLAGS)
    flags, overrides = divided(words)
    try:
        files, root = seen(root, flags, overrides)
    except UserError:  # told of when the command is run
        return []
    sign = word[: len(word) - len(word.lstrip("+~"))]
    return [f"{sign}{one}" for one in of_configs(files, root, overrides, word[len(sign) :])]


def of_configs(files: ConfigFiles, root: str, overrides: Sequence[str], word: str) -> list[str]:
    """Groups and keys, or behind the sign the values of one."""
    groups = [group for group in files.choices(root) if group in files.groups]
    name, sign, value = word.partition("=")
    if sign and name in groups:
        head = value[: max(value.rfind("["), value.rfind(",")) + 1]  # of several
        return starting(word, [f"{name}={head}{one}" for one in files.groups[name]])
    if sign and A_PATH.fullmatch(value):
        paths = sorted(glob(f"{os.path.expanduser(value)}*"))
        return [f"{name}={path}/" if Path(path).is_dir() else f"{name}={path}" for path in paths]
    keys = keys_of(files, root, groups, overrides)
    if sign:
        known = keys.get(tuple(name.split(".")), "")
        values = ("true", "false") if known in ("true", "false") else (known, "null")
        return starting(word, [f"{name}={one}" for one in values if PLAIN.fullmatch(one)])
    return starting(word, [*(f"{group}=" for group in groups), *next_parts(keys, word)])


def keys_of(files: ConfigFiles, root: str, groups: Sequence[str], overrides: Sequence[str]) -> dict[Key, str]:
    """The keys of what is chosen by default and by the overrides so far, with their values as written."""
    typed = {name: chosen(value) for name, _, value in (one.partition("=") for one in overrides) if name in groups}
    found = {group: choice.values for group, choice in files.choices(root).items()} | typed
    for group, values in typed.items():  # a method chooses losses
        for value in values:
            besides = files.choices(f"{group}/{value}").values()
            found |= {choice.group: choice.values for choice in besides if choice.group not in typed}
    names = [root, *(f"{group}/{value}" for group, values in found.items() for value in values)]
    return {path: one.value for name in names for path, one in files.keys(name).items()}


def next_parts(keys: Mapping[Key, str], word: str) -> list[str]:
    """Keys as far as the next dot behind what is typed: those below are for the next time."""
    depth = word.count(".") + 1
    here = [f"{'.'.join(key)}=" for key, value in keys.items() if len(key) == depth and value]
    return here + [f"{'.'.join(key[:depth])}." for key in keys if len(key) > depth]


def starting(word: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(word)})
