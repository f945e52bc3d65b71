"""kd-train."""

from omegaconf import DictConfig

from kd_lightning.config import command, run_folder, save_config


@command("train")
def main(config: DictConfig) -> float | None:
    """Train a teacher, a student alone and a distilled student, and compare them.

    Returns the distilled student's best validation accuracy, for sweepers to maximise.
    """
    from kd_lightning.experiment.check import check
    from kd_lightning.experiment.comparison import compare
    from kd_lightning.experiment.resume import finished, same_config
    from kd_lightning.reporting.table import caption, comparison
    from kd_lightning.reporting.terminal import say, show

    folder = run_folder()
    data = check(config)
    same_config(config, folder)
    summary = finished(folder)
    if summary is None:
        save_config(config, folder)
        summary = compare(config, data, folder)
    show(comparison(summary))
    show(caption(summary))
    say("run", str(folder))
    best: float | None = summary["student"]["top1_validation"]
    return best
