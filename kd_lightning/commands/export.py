"""kd-export."""

from typing import TYPE_CHECKING

from kd_lightning.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("export")
def main(config: "DictConfig") -> None:
    """Write a finished run's student as one file that other programs run."""
    from kd_lightning.inference.place import find

    find(config.run, "run")  # first, for torch takes seconds to import

    from kd_lightning.inference.exports import export_run
    from kd_lightning.reporting.tables.exports import exports_table
    from kd_lightning.terminal import say, show

    files = export_run(config)
    show(exports_table(files))
    for file in files:
        say(file.format, str(file.path))


if __name__ == "__main__":
    main()
