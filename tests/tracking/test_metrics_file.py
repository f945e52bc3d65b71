"""metrics.csv over interruptions."""

from pathlib import Path

import pytest

from kd_lightning.runs.metrics_rows import read_rows
from kd_lightning.tracking.metrics_file import MetricsFile


def lines(folder: Path) -> list[str]:
    return (folder / "metrics.csv").read_text().splitlines()


def test_a_row_is_there_once_it_is_logged_and_new_columns_find_their_place(tmp_path: Path) -> None:
    file = MetricsFile(str(tmp_path))
    file.log_metrics({"train/loss": 0.5, "epoch": 0}, step=0)
    assert lines(tmp_path) == ["epoch,step,train/loss", "0,0,0.5"]
    file.log_metrics({"train/loss": 0.25, "epoch": 0}, step=1)
    file.log_metrics({"val/top1": 0.75, "epoch": 0}, step=2)
    assert lines(tmp_path) == ["epoch,step,train/loss,val/top1", "0,0,0.5,", "0,1,0.25,", "0,2,,0.75"]


def test_a_training_that_goes_on_keeps_what_its_checkpoint_had(tmp_path: Path) -> None:
    file = MetricsFile(str(tmp_path))
    for step in range(4):
        file.log_metrics({"train/loss": step}, step)
        if step == 1:
            rows = file.sync()
            file.log_metrics({"epoch_mean": 7}, step)  # logged at the epoch's end, behind the checkpoint
    with (tmp_path / "metrics.csv").open("a") as cut:
        cut.write("4,")
    later = MetricsFile(str(tmp_path))
    later.go_on(*rows, step=2)
    later.log_metrics({"train/loss": 2}, 2)
    assert [(row["step"], row["train/loss"]) for row in read_rows(tmp_path / "metrics.csv")] == [
        *(("0", "0"), ("1", "1"), ("1", ""), ("2", "2")),
    ]


@pytest.mark.parametrize("is_written", [True, False])
def test_the_row_of_a_batch_that_a_checkpoint_ended_is_there_once(is_written: bool, tmp_path: Path) -> None:
    file = MetricsFile(str(tmp_path))
    file.log_metrics({"train/loss": 0.5}, 0)
    rows = file.sync()
    for step in (1, 2) if is_written else ():
        file.log_metrics({"train/loss": step}, step)
    later = MetricsFile(str(tmp_path))
    later.go_on(*rows, step=2, to_come={"train/loss": "1", "step": "1"})
    later.log_metrics({"train/loss": 2}, 2)
    assert lines(tmp_path) == ["step,train/loss", "0,0.5", "1,1", "2,2"]


def test_a_training_that_goes_on_tells_rows_that_are_not_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = MetricsFile(str(tmp_path))
    for step in range(3):
        file.log_metrics({"train/loss": step}, step)
    noted = file.sync()
    file.log_metrics({"val/top1": 0.5}, 3)  # a column more changes no row
    MetricsFile(str(tmp_path)).go_on(*noted, step=3)
    assert capfd.readouterr().err == ""
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text().replace("1,1", "1,7"))
    MetricsFile(str(tmp_path)).go_on(*noted, step=3)
    assert f"warning: {path}: is damaged" in capfd.readouterr().err


def test_a_training_that_begins_anew_forgets_what_was_there(tmp_path: Path) -> None:
    MetricsFile(str(tmp_path)).log_metrics({"old": 1}, 0)
    MetricsFile(str(tmp_path)).log_metrics({"new": 1}, 0)
    assert lines(tmp_path) == ["new,step", "1,0"]


def test_lines_that_were_cut_off_or_have_no_header_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss\n0,1,0.5\n0,3,0.4,9,9\n0,")
    assert read_rows(path) == [{"epoch": "0", "step": "1", "train/loss": "0.5"}]
    path.write_text("0,1,0.5\n0,3,0.4\n")
    assert read_rows(path) == []


def test_a_row_whose_last_number_was_cut_short_is_none(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/loss\n0,0.25\n1,0.125")
    assert [row["step"] for row in read_rows(tmp_path / "metrics.csv")] == ["0"]
