"""kd-cache."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kd_lightning.cli.plain_command import Parser, Version, run
from kd_lightning.errors import UserError
from kd_lightning.store.folders import cache_dir

if TYPE_CHECKING:
    from kd_lightning.store.folders import Entry


def main() -> None:
    """List, remove and verify what runs keep for one another; exit code 1 where a verification fails."""

    def task() -> int:
        arguments = parser().parse_args()
        return int(arguments.command(arguments))

    run(task)


def parser() -> Parser:
    about = "What runs keep: trained networks, teachers' answers and test results, pixels of small folders."
    whole = Parser("kd-cache", description=about)
    anywhere = Parser(add_help=False, argument_default=argparse.SUPPRESS)  # before the subcommand, or behind it
    for one in (whole, anywhere):
        told = "the folder of the cache (default: $KD_LIGHTNING_CACHE, or ~/.cache/kd_lightning)"
        one.add_argument("--dir", type=lambda path: Path(path).expanduser(), help=told)
    whole.add_argument("--version", action=Version, nargs=0, help="the version of KD Lightning")
    whole.set_defaults(dir=cache_dir())
    commands = whole.add_subparsers(required=True, metavar="ls|rm|verify")
    listing = "names, contents and sizes; removes what killed runs left half written"
    commands.add_parser("ls", help=listing, parents=[anywhere]).set_defaults(command=list_entries)
    rm = commands.add_parser("rm", help="remove some, or all", parents=[anywhere])
    rm.add_argument("names", nargs="*", help="as ls shows them, or how they begin")
    rm.add_argument("--all", action="store_true", help="all of them")
    rm.set_defaults(command=remove_entries)
    comparing = "ask teachers again for a sample of their answers, and compare"
    verify = commands.add_parser("verify", help=comparing, parents=[anywhere])
    verify.add_argument("names", nargs="*", help="as ls shows them, or how they begin; without any, all answers")
    verify.add_argument("--trust", action="store_true", help="also build classes that somebody else's runs name")
    verify.set_defaults(command=verify_entries)
    return whole


def list_entries(arguments: argparse.Namespace) -> int:
    from rich.box import SIMPLE_HEAD
    from rich.filesize import decimal
    from rich.table import Table

    from kd_lightning.store.folders import entries
    from kd_lightning.system.files import remove_unfinished
    from kd_lightning.terminal import show

    remove_unfinished(arguments.dir)
    table, total = Table("name", "kind", "what", box=SIMPLE_HEAD), 0
    table.add_column("last written", no_wrap=True)
    table.add_column("on disk", justify="right", no_wrap=True)
    for entry in entries(arguments.dir):
        size = entry.bytes_on_disk()
        total += size
        written = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_written()))
        table.add_row(entry.name, entry.kind, entry.description(), written, decimal(size))
    table.add_section()
    table.add_row("", "", "all", "", decimal(total))
    show(str(arguments.dir))
    show(table)
    return 0


def remove_entries(arguments: argparse.Namespace) -> int:
    """Remove the named entries, or all. Raises UserError where neither is said."""
    from kd_lightning.store.folders import entries, named, remove
    from kd_lightning.system.files import remove_unfinished

    if bool(arguments.names) == arguments.all:
        raise UserError("kd-cache rm: give names, as kd-cache ls shows them, or --all")
    remove_unfinished(arguments.dir)
    chosen = entries(arguments.dir) if arguments.all else [named(arguments.dir, name) for name in arguments.names]
    for entry in chosen:
        remove(entry)
        print(f"removed {entry.name}: {entry.kind}")
    return 0


def verify_entries(arguments: argparse.Namespace) -> int:
    from kd_lightning.cli.composed import prepare_process
    from kd_lightning.store.folders import entries, named

    prepare_process()  # for the user's own classes, as where the answers were made
    chosen = [named(arguments.dir, name) for name in arguments.names] or entries(arguments.dir)
    right = [is_right(entry, arguments.trust) for entry in chosen if entry.kind == "answers"]
    return 0 if all(right) else 1


def is_right(entry: "Entry", trust: bool) -> bool:
    """Verify some answers and say what came of it; those that cannot be verified are not right."""
    from kd_lightning.inference.answers.verification import verify

    try:
        result = verify(entry.path, trust=trust)
    except Exception as error:  # a class of the user's own may raise anything
        print(f"{entry.name}: cannot be verified: {reason(error)}")
        return False
    verdict = "right" if result.is_right else f"WRONG; kd-cache rm {entry.name}"
    print(
        f"{entry.name}: {result.recomputed:,} of {result.cached:,} answers computed again, largest difference "
        f"{result.difference:.1e} (up to {result.tolerance:.1e} is rounding): {verdict}"
    )
    if result.divergence is not None:
        print(f"{entry.name}: what is kept differs from the teacher's answers by {result.divergence:.1e} nats")
    return result.is_right


def reason(error: Exception) -> str:
    """An error on one line; its kind too, unless it is one that this package words for users."""
    from kd_lightning.config.refusals.bad_input import BAD_INPUT, one_line

    return one_line(error) if isinstance(error, BAD_INPUT) else f"{type(error).__name__}: {one_line(error)}"


if __name__ == "__main__":
    main()
