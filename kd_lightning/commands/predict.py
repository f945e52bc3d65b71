"""kd-predict."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kd_lightning.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("predict")
def main(config: "DictConfig") -> None:
    """Tell what a finished run's student says of image files; exit code 1 where some cannot be read."""
    from kd_lightning.inference.place import find

    if not Path(str(config.run)).expanduser().is_file():
        find(config.run, "run")  # first, for torch takes seconds to import

    from kd_lightning.inference.predictions import predict

    unreadable = predict(config)
    for told in unreadable:
        print(f"unreadable: {told}", file=sys.stderr)
    if unreadable:
        sys.exit(1)


if __name__ == "__main__":
    main()
