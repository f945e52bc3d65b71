"""metrics.csv over interruptions."""

from pathlib import Path

from kd_lightning.tracking.metrics_file import join_metrics, keep_metrics


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss\n0,1,0.5\n0,3,0.4\n0,5,0.3\n0,3,0.4,9,9\n0,")
    keep_metrics(tmp_path, step=3)
    path.write_text("epoch,step,val/top1\n1,5,0.9\n")
    join_metrics(tmp_path)
    assert path.read_text().splitlines() == [
        *("epoch,step,train/loss,val/top1", "0,1,0.5,", "0,3,0.4,", "1,5,,0.9"),
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_file_without_a_header_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("0,1,0.5\n0,3,0.4\n")
    keep_metrics(tmp_path, step=3)
    assert (tmp_path / "metrics.before.csv").read_text() == "\n"
