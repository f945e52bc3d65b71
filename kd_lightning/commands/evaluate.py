"""kd-eval."""

from pathlib import Path
from typing import TYPE_CHECKING

from kd_lightning.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("eval")
def main(config: "DictConfig") -> None:
    """Test a finished run's student again."""
    from kd_lightning.config.folder.stored_config import run_config
    from kd_lightning.runs.folder import checkpoint_name

    run = run_config(config.run, config.trust)  # first, for torch takes seconds to import
    checkpoint_name(config.checkpoint, Path(run.paths.output_dir))

    if config.probe.data is not None:
        from kd_lightning.inference.probe import probe
        from kd_lightning.reporting.tables.terminal_tables import metrics_table
        from kd_lightning.terminal import show

        networks, compared = probe(config)
        show(metrics_table(networks, compared))
        return

    from kd_lightning.inference.evaluation import evaluate
    from kd_lightning.reporting.tables.terminal_tables import metrics_table
    from kd_lightning.terminal import say, show

    columns, compared, checkpoint = evaluate(config)
    show(metrics_table([*columns.items()], compared))
    say("checkpoint", checkpoint)


if __name__ == "__main__":
    main()
