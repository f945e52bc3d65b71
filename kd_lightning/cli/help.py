"""--help: which configs are seen, what is asked about, and the flags that Hydra takes besides."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import yaml

from kd_lightning.cli.flags import divided
from kd_lightning.cli.pager import show
from kd_lightning.config.comments import LOADER
from kd_lightning.config.files import ConfigFiles
from kd_lightning.config.help import Help
from kd_lightning.config.lines import beside
from kd_lightning.errors import UserError
from kd_lightning.experiment.config import conf_dir

NARROWEST, WIDEST = 60, 100
FOLDER, ROOT = ("--config-dir", "-cd"), ("--config-name", "-cn")
OF_GROUPS = {  # flags of commands that choose from groups
    "-m": "sweep over values separated by commas",
    "--config-dir DIR": "a folder of your own configs, which come before the packaged ones",
}
OPTIONS = {
    "--cfg job": "print the composed config and run nothing; with --resolve, references are filled in",
    "-sc install=bash": 'print what makes the tab key complete; for ~/.bashrc: eval "$({command} -sc install=bash)"',
    "--hydra-help": "further flags, of Hydra, which composes the config",
}


def show_help(root: str, arguments: Sequence[str]) -> int:
    """Show the help that a command line asks for; returns the exit code."""
    try:
        show(asked_for(root, arguments, width()))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def asked_for(root: str, arguments: Sequence[str], width: int) -> str:
    """The help of a command with this root config. Raises UserError for a topic that there is none of."""
    flags, overrides = divided(arguments)
    command, root = f"kd-{root}", (value_of(ROOT, flags) or root).removesuffix(".yaml")
    shown = Help(ConfigFiles([*own_folders(flags, overrides), conf_dir()]), root, width)
    topics = [topic for topic in overrides if not topic.startswith("hydra")]
    if topics:
        return "\n\n".join("\n".join(shown.of(topic)) for topic in topics)
    return "\n".join([*shown.overview(), "", *options(shown, command, width)])


def width() -> int:
    """The columns of help: those of the terminal, within bounds; in a file the most."""
    columns = get_terminal_size().columns if sys.stdout.isatty() else WIDEST
    return min(max(columns, NARROWEST), WIDEST)


def value_of(names: Sequence[str], flags: Sequence[str]) -> str | None:
    """The value that a command line gives a flag of these names, behind it or behind a sign."""
    for n, flag in enumerate(flags):
        name, sign, value = flag.partition("=")
        if name in names:
            return value if sign else next(iter(flags[n + 1 :]), None)
    return None


def own_folders(flags: Sequence[str], overrides: Sequence[str]) -> Iterator[Path]:
    """Where a user's own configs are. Raises UserError for a folder that is not there."""
    given = value_of(FOLDER, flags)
    if given is not None and not Path(given).is_dir():
        raise UserError(f"{FOLDER[0]} {given}: no such folder; give the one that holds your groups")
    searched = [line.partition("=")[2] for line in overrides if line.startswith("hydra.searchpath=")]
    paths: Any = yaml.load(searched[-1], LOADER) if searched else []
    for path in [given, *(paths if isinstance(paths, list) else [paths])]:
        if path and "pkg://" not in path:
            yield Path(str(path).removeprefix("file://")).absolute()


def options(shown: Help, command: str, width: int) -> Iterator[str]:
    """The flags."""
    yield "Options, before what is set or behind it:"
    yield ""
    topics = {"--help GROUP": "the values of a group", "--help GROUP=VALUE": "one of them, with its keys and its paper"}
    flags = {**topics, "--help KEY": "one key"} if shown.groups else {}
    for flag, said in {"--help": "this", **flags, **(OF_GROUPS if shown.groups else {}), **OPTIONS}.items():
        yield from beside(flag, said.format(command=command), width)
