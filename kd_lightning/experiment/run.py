"""A run in its folder: begun, taken up again, or found finished."""

from pathlib import Path

from omegaconf import DictConfig

from kd_lightning.config.folder.stored_config import is_stored, save_config
from kd_lightning.experiment.comparison import compare
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.folder.resume import finished, same_config
from kd_lightning.reporting.pages.page import write_run_page
from kd_lightning.runs.files import PAGE
from kd_lightning.runs.summary import Summary
from kd_lightning.system.files import set_aside_folder


def run(experiment: Experiment, folder: Path) -> Summary:
    """The summary of an experiment's run; raises `UserError` if the folder holds a run of another config."""
    began = same_config(experiment.config, folder, experiment.data.batch_size)
    summary = finished(folder)
    if summary is None:
        save_config(began, folder)
        summary = compare(experiment, folder, began)
    else:
        mend(began, folder)
    return summary


def mend(config: DictConfig, folder: Path) -> None:
    """Write anew what a kill or damage took of a finished run's config and page."""
    if not is_stored(folder):
        save_config(config, folder)
    if not is_whole(folder / PAGE):
        set_aside_folder(folder / PAGE)
        write_run_page(folder)


def is_whole(page: Path) -> bool:
    """Whether a page has its end, in blanks or none."""
    try:
        return page.read_bytes().rstrip().endswith(b"</html>")
    except OSError:
        return False
