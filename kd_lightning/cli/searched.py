"""Which config files a command line makes a command see, and its root config, told without Hydra."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from kd_lightning.config.comments import LOADER
from kd_lightning.config.conf import conf_dir
from kd_lightning.config.files import ConfigFiles
from kd_lightning.errors import UserError

FOLDER, ROOT = ("--config-dir", "-cd"), ("--config-name", "-cn")
SEARCHED = "hydra.searchpath"


def seen(root: str, flags: Sequence[str], overrides: Sequence[str]) -> tuple[ConfigFiles, str]:
    """The config files of a command line, a user's own first, and the name of its root config.

    Raises UserError for a folder or a root config that is not there.
    """
    given, name = value_of(FOLDER, flags), (value_of(ROOT, flags) or root).removesuffix(".yaml")
    if given is not None and not Path(given).is_dir():
        raise UserError(f"{FOLDER[0]} {given}: no such folder; give the one that holds your groups")
    folders = [] if given is None else [Path(given).absolute()]
    of_root = ConfigFiles([*folders, conf_dir()]).keys(name).get(tuple(SEARCHED.split(".")))
    typed = [line.partition("=")[2] for line in overrides if line.startswith(f"{SEARCHED}=")]
    folders += searched(typed[-1] if typed or of_root is None else of_root.value) if typed or of_root else []
    files = ConfigFiles([*folders, conf_dir()])
    if files.read(name) is None:
        raise UserError(f"{ROOT[0]} {name}: no such config; give one beside the groups in --config-dir")
    return files, name


def searched(text: str) -> Iterator[Path]:
    """The folders that a search path names; none of packages."""
    paths: Any = yaml.load(text, LOADER)
    for path in paths if isinstance(paths, list) else [paths]:
        if path and "pkg://" not in str(path):
            yield Path(str(path).removeprefix("file://")).absolute()


def value_of(names: Sequence[str], flags: Sequence[str]) -> str | None:
    """The value that a command line gives a flag of these names, behind it or behind a sign."""
    for n, flag in enumerate(flags):
        name, sign, value = flag.partition("=")
        if name in names:
            return value if sign else next(iter(flags[n + 1 :]), None)
    return None
