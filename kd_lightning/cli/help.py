"""--help: what is asked about, and the flags that Hydra takes besides."""

import sys
from collections.abc import Iterator, Sequence
from shutil import get_terminal_size

from kd_lightning.cli.flags import divided
from kd_lightning.cli.pager import show
from kd_lightning.cli.searched import seen
from kd_lightning.config.help import Help
from kd_lightning.config.lines import beside
from kd_lightning.errors import UserError

NARROWEST, WIDEST = 60, 100
OF_GROUPS = {  # flags of commands that choose from groups
    "-m": "sweep over values separated by commas",
    "--config-dir DIR": "a folder of your own configs, which come before the packaged ones",
}
OPTIONS = {
    "--cfg job": "print the composed config and run nothing; with --resolve, references are filled in",
    "-sc install=bash": 'print what makes the tab key complete; for ~/.bashrc: eval "$({command} -sc install=bash)"',
    "--version": "the version of KD Lightning",
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
    files, name = seen(root, flags, overrides)
    shown = Help(files, name, width)
    topics = [topic for topic in overrides if not topic.startswith("hydra")]
    if topics:
        return "\n\n".join("\n".join(shown.of(topic)) for topic in topics)
    return "\n".join([*shown.overview(), "", *options(shown, f"kd-{root}", width)])


def width() -> int:
    """The columns of help: those of the terminal, within bounds; in a file the most."""
    columns = get_terminal_size().columns if sys.stdout.isatty() else WIDEST
    return min(max(columns, NARROWEST), WIDEST)


def options(shown: Help, command: str, width: int) -> Iterator[str]:
    """The flags."""
    yield "Options, before what is set or behind it:"
    yield ""
    topics = {"--help GROUP": "the values of a group", "--help GROUP=VALUE": "one of them, with its keys and its paper"}
    flags = {**topics, "--help KEY": "one key"} if shown.groups else {}
    for flag, said in {"--help": "this", **flags, **(OF_GROUPS if shown.groups else {}), **OPTIONS}.items():
        yield from beside(flag, said.format(command=command), width)
