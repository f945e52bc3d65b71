"""The trainings of an experiment's plan, with random networks in place of what each would give."""

from kd_lightning.experiment.experiment import Experiment
from kd_lightning.module import DistillationModule
from kd_lightning.plans import Trained, Training
from kd_lightning.plans.follow import follow
from kd_lightning.plans.plan import Step
from kd_lightning.teachers import Teacher
from kd_lightning.training.measuring import TestedNetwork
from kd_lightning.training.modules import build_module


def trainings(experiment: Experiment) -> dict[str, tuple[Training, DistillationModule]]:
    """By name, each with its module; those of the teacher's networks are not among them."""
    parts = experiment.parts
    found: dict[str, tuple[Training, DistillationModule]] = {}

    def give(step: Step) -> Trained:
        if isinstance(step, Teacher):
            built = step.build(parts.context)
            assert built is not None
            return Trained(step.role, step, TestedNetwork(built, {}))
        module = build_module(step, parts.context)
        found[step.name] = step, module
        return Trained(step.name, step.first.network, TestedNetwork(module.student, {}), module.objective.state_dict())

    follow(experiment.plan.steps(parts), give)
    return found


def trained_alone(experiment: Experiment) -> list[Training]:
    """The trainings of networks by themselves: those of the teacher's, and of the student alone."""
    parts = experiment.parts
    alone = [training for name, (training, _) in trainings(experiment).items() if training.is_kept]
    return [*experiment.teacher.trainings(parts.context), *alone]
