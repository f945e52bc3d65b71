"""kd-report."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kd_lightning.cli.plain_command import Parser, Version, run
from kd_lightning.errors import UserError
from kd_lightning.system.files import write_text

if TYPE_CHECKING:
    from kd_lightning.runs.collections.collection import Collection

SUFFIXES = {"html": "html", "csv": "csv", "markdown": "md"}


def main() -> None:
    """Make a report of a run, of several runs, or of a multirun."""

    def task() -> int:
        arguments = parser().parse_intermixed_args()
        for path in report(arguments.paths, arguments.format, arguments.output):
            print(path)
        return 0

    run(task)


def parser() -> Parser:
    found = Parser(
        "kd-report",
        description="A report of a run, of several runs, or of a multirun: one HTML page that needs no network, or "
        "its numbers as CSV or Markdown.",
        epilog="kd-report multirun/2026-11-20/12-00-00; kd-report outputs/*/* --format html,csv --output report",
    )
    found.add_argument("--version", action=Version, nargs=0, help="the version of KD Lightning")
    found.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a folder that kd-train printed")
    found.add_argument("--format", default="html", help="html, csv, markdown, or several with commas (default: html)")
    found.add_argument(
        "--output", type=Path, help="a file, or a folder (default: PATH itself; of several, the current folder)"
    )
    return found


def report(paths: list[Path], formats: str, output: Path | None) -> list[Path]:
    """Write the report in each format; returns its files.

    Raises UserError for a format that there is not, and for several in one file.
    """
    names = formats.split(",")
    for name in names:
        if name not in SUFFIXES:
            raise UserError(f"--format={formats}: no format {name}; there are {', '.join(SUFFIXES)}")
    is_file = output is not None and output.suffix.lstrip(".") in SUFFIXES.values()
    if is_file and len(names) > 1:
        raise UserError(f"--output={output}: is one file; give a folder for {formats}")
    from kd_lightning.runs.collections.reading import read

    runs = read(paths)
    folder = output or (paths[0] if len(paths) == 1 else Path())
    targets = {name: folder if is_file else folder / f"report.{SUFFIXES[name]}" for name in names}
    for name, target in targets.items():
        write(target, writer(name)(runs))
    return list(targets.values())


def write(target: Path, text: str) -> None:
    """Write one format of a report. Raises UserError where the file cannot be written."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, text)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror}); give --output=FOLDER") from error


def writer(name: str) -> "Callable[[Collection], str]":
    """What makes a format's text."""
    from kd_lightning.reporting.pages import page
    from kd_lightning.reporting.tables import export

    return {"html": page.page, "csv": export.as_csv, "markdown": export.as_markdown}[name]


if __name__ == "__main__":
    main()
