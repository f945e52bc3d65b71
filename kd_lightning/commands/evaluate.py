"""kd-eval."""

from omegaconf import DictConfig

from kd_lightning.config import command


@command("eval")
def main(config: DictConfig) -> None:
    """Test a finished run's student again."""
    from kd_lightning.experiment.evaluation import evaluate
    from kd_lightning.reporting.table import metrics_table
    from kd_lightning.reporting.terminal import say, show

    tested, stored, checkpoint = evaluate(config)
    show(metrics_table({"now": tested, "in summary.json": stored}))
    say("checkpoint", checkpoint)
