"""What kd-train says before it begins."""

from lightning.pytorch.utilities import rank_zero_only

from kd_lightning.config.conf import plain
from kd_lightning.config.resolvers import PAIRS
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.reporting.tables.config_tree import config_tree
from kd_lightning.reporting.tables.model_summary import model_summary
from kd_lightning.taps.inspection import Cost
from kd_lightning.terminal import say, show

GROUPS = (
    *("data", "student", "teacher", "scratch", "loss", "curriculum", "initialization"),
    *("optimizer", "scheduler", "trainer"),
)  # of the config, which are shown


@rank_zero_only
def introduce(experiment: Experiment) -> None:
    """Show a checked config, and what its networks cost."""
    config, data = experiment.config, experiment.data
    student, teacher = experiment.student, experiment.teacher
    values = plain(config)
    if experiment.each:  # each of which has a model of its own
        del values[student.owner]["model"]
    show(config_tree(values, f"kd-train, seed {config.seed}", GROUPS))
    if data.undecided is not None:
        say(
            "data",
            f"what {data.name} holds is not known ({data.undecided}), so networks are kept for this run alone; give "
            "it a method fingerprint(), which tells",
        )
    if config.get(PAIRS) and len(teacher.networks()) > 1:
        say(teacher.role, "the method's values by pair of networks are of one teacher; several have its other values")
    costs = [experiment.costs[network.model_key] for network in teacher.networks().values()]
    learned_from = {teacher.role: (teacher.name, Cost.total(costs))} if costs else {}
    students = {f"{student.owner} {place}": one.student for place, one in enumerate(experiment.each, start=1)}
    learns = students or {student.owner: student}
    told = {title: (one.name, experiment.costs[one.model_key]) for title, one in learns.items()}
    show(model_summary(learned_from, told))
