"""`python -m tests.additions NAME FOLDER`: an addition as processes: whole, killed and resumed, and in a sweep."""

import json
import sys
from pathlib import Path

from tests.additions.addition import Addition
from tests.torture.forked import Process, import_all, start
from tests.torture.outcome import difference, left_in
from tests.torture.watching import Watch

LIMIT = 300.0  # seconds that a command may take
SMALL = ("callbacks.progress_bar=null", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "scratch=false")
SAVED = ("trainer.max_epochs=2", "trainer.limit_train_batches=4", "callbacks.checkpoint_timed.every_minutes=1e-6")
SWEPT = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "optimizer.lr=0.01,0.05", "seed=0,1")
WRITTEN = "run/checkpoints/last.ckpt"
KILLED_AT = 6  # times that it was written: within the second epoch


def begin(addition: Addition, folder: Path, *options: str) -> Process:
    environment = {"KD_LIGHTNING_CACHE": str(folder / "cache")}
    return start("kd-train", (*addition.arguments, *SMALL, *options), folder, environment)


def finished(process: Process) -> None:
    code = process.wait(LIMIT)
    assert code == 0, process.errors[-3000:]


def resumed_exactly(addition: Addition, folder: Path) -> None:
    """A run that is killed within its second epoch and begun again leaves what one leaves that was left alone."""
    for name in ("whole", "cut"):
        addition.copy_to(folder / name)
    options = (*SAVED, "hydra.run.dir=run")
    finished(begin(addition, folder / "whole", *options))
    watch, written = Watch(folder / "cut"), 0
    process = begin(addition, folder / "cut", *options)
    while written < KILLED_AT and not process.has_ended():
        written += watch.next(0.01).count(f"renamed {WRITTEN}")
    assert process.kill(), f"over before it was killed, {process.code}: {process.errors[-3000:]}"
    watch.close()
    assert not (folder / "cut" / "run" / "summary.json").exists()
    process = begin(addition, folder / "cut", *options)
    finished(process)
    assert "resuming" in process.output
    found = difference(*(left_in(folder / name / "run") for name in ("whole", "cut")))
    assert found is None, found


def swept(addition: Addition, folder: Path) -> None:
    """It takes part in a sweep of 2 x 2, of which one configuration is selected and tested."""
    addition.copy_to(folder / "swept")
    finished(begin(addition, folder / "swept", "-m", *SWEPT, "hydra.sweep.dir=sweep"))
    record = json.loads((folder / "swept" / "sweep" / "sweep.json").read_text())
    assert (record["jobs"], record["finished"], record["failed"]) == (4, 4, 0)
    tested = [json.loads((folder / "swept" / "sweep" / str(job) / "summary.json").read_text()) for job in range(4)]
    assert [str(job) for job, one in enumerate(tested) if one["data"]["tested"]] == record["selected"]["jobs"]
    assert len(record["selected"]["jobs"]) == 2
    finished(start("kd-report", ("sweep", "--output", "page.html"), folder / "swept", {}))
    assert addition.shown in (folder / "swept" / "page.html").read_text(encoding="utf-8")


def main() -> None:
    name, folder = sys.argv[1:]
    import_all()
    for trial in (resumed_exactly, swept):
        trial(Addition(name), Path(folder))


if __name__ == "__main__":
    main()
