"""python -m tests.torture [KIND …] [--count N] [--seed N]: a table of what was tried, and what failed."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.torture import configs, damage, disks, foreign, kills, ranks
from tests.torture.forked import import_all
from tests.torture.trial import show

# Damage is last: its commands run in this process, which the others fork.
KINDS = {"kills": kills, "disks": disks, "ranks": ranks, "foreign": foreign, "configs": configs, "damage": damage}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; without any, all of them")
    parser.add_argument("--count", type=int, default=24, help="trials of each kind")
    parser.add_argument("--seed", type=int, default=0, help="decides what is tried")
    chosen = parser.parse_args()
    if unknown := {*chosen.kinds} - {*KINDS}:
        parser.error(f"no such kind: {', '.join(unknown)}")
    import_all()
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    trials = []
    for kind in chosen.kinds or KINDS:
        for trial in KINDS[kind].trials(chosen.count, chosen.seed, folder):
            trials.append(trial)
            print("." if trial.is_as_expected else "F", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if not show(trials, Console()):
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
