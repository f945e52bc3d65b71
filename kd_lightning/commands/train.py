"""kd-train."""

from typing import TYPE_CHECKING

from kd_lightning.cli.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("train")
def main(config: "DictConfig") -> float | None:
    """Train a teacher, a student alone and a distilled student, and compare them.

    Returns what the distilled student reached in the column that its task selects on, on validation data.
    """
    from contextlib import nullcontext

    from hydra.core.hydra_config import HydraConfig

    from kd_lightning.cli.composed import is_sweep_job
    from kd_lightning.config.checks.values import check_values
    from kd_lightning.config.conf import as_typed
    from kd_lightning.config.folder.run_folder import refuse_folders_of_ranks, run_folder
    from kd_lightning.runs.files import PAGE, RUNNING
    from kd_lightning.runs.folder import goes_on, one_run_in, sweep_of
    from kd_lightning.system.interruption import interruption

    if not is_sweep_job():
        refuse_folders_of_ranks(config)
        check_values(config)  # first, for torch takes seconds to import

    from kd_lightning.config.checks.unused import refuse_unused, set_for_nothing
    from kd_lightning.experiment.checks.config import check
    from kd_lightning.experiment.folder.introduction import introduce
    from kd_lightning.experiment.folder.resume import finished
    from kd_lightning.experiment.run import run
    from kd_lightning.reporting.tables.terminal_tables import caption, comparison
    from kd_lightning.sweeps.job import sweep_job
    from kd_lightning.terminal import say, show, warn

    if is_sweep_job():
        return sweep_job(config)
    folder, given = run_folder(), as_typed(HydraConfig.get().overrides.task)
    experiment = check(config)
    if sweep_of(folder) is None:  # a sweep has looked at all of its jobs together
        refuse_unused(config, given)
        if (line := set_for_nothing(config, given)) is not None:
            warn(line)
    is_over = finished(folder) is not None and (folder / PAGE).exists()
    with nullcontext() if is_over and not (folder / RUNNING).exists() else one_run_in(folder):
        interruption.run, interruption.remedy = folder, goes_on(folder)
        if finished(folder) is None:
            say("run", f"if it is interrupted, {interruption.remedy}")
            introduce(experiment)
        summary = run(experiment, folder)
    show(comparison(summary))
    show(caption(summary))
    say("run", str(folder))
    compared = summary.compared
    best: float | None = None if compared is None else summary.result.record.get(compared.validation.name)
    return best


if __name__ == "__main__":
    main()
