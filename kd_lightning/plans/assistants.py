"""A chain of assistants between the teacher and the student in size."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.learners.over_sources import OverSources
from kd_lightning.part import Part
from kd_lightning.plans.distillation import Distillation
from kd_lightning.plans.plan import Parts, Steps
from kd_lightning.runs.summary import Role
from kd_lightning.schedules.progress import Progress
from kd_lightning.store.hashing import fold
from kd_lightning.training.context import Terms
from kd_lightning.training.steps import Trained, Training


class Assistants:
    """Each assistant is distilled from the one before it, the first from the teacher, and the last teaches the student.

    TAKD (Mirzadeh et al. 2020, arXiv:1902.03393); `dense`: each learns from the teacher and all assistants before it
    (DGKD, Son et al. 2021, arXiv:2009.08825), Σ over them of the terms that take the teacher, of which `drop` are left
    out at random in each step where more are there. Assistants are kept for all runs under what they were taught by.
    Several students learn from the chain in one training; in what these differ, the assistants learn as `student` says.

    The public code of both divides the KL divergence by B·C (`nn.KLDivLoss()`), and that of TAKD drops the learning
    rate by a condition on the wrong variable; neither is done here.

    Args:
        assistants: their models, names or `Part`s that make them, from the teacher's size down to the student's.
        dense: whether each learns from all before it.
        drop: how many of those each step leaves out.

    Raises UserError for no list of models, and for a number of those left out that is none.

    Examples:
        >>> from kd_lightning.plans import Assistants
        >>> Assistants(["resnet56", "resnet32"]).names
        ['assistant_1', 'assistant_2']
    """

    name = "assistants"
    networks = Distillation.networks
    takes_students = True

    def __init__(self, assistants: Sequence[Any] | None, dense: bool = False, drop: int = 1) -> None:
        if not isinstance(assistants, Sequence) or isinstance(assistants, str) or not assistants:
            given = "null" if assistants is None else assistants
            raise UserError(f"plan.assistants={given}: give a list of models, such as [resnet56,resnet32]")
        for place, model in enumerate(assistants):
            if not isinstance(model, str | Part) or not model:
                raise UserError(
                    f"plan.assistants.{place}={model}: must be the name of a model, or a mapping with _target_"
                )
        if not isinstance(drop, int) or isinstance(drop, bool) or drop < 0:
            raise UserError(f"plan.drop={drop}: how many of its teachers a step leaves out; give 0, 1, …")
        self.assistants, self.dense, self.drop = list(assistants), dense, drop

    @property
    def names(self) -> list[str]:
        several = len(self.assistants) > 1
        return [f"assistant_{place}" if several else "assistant" for place in range(1, len(self.assistants) + 1)]

    def check(self, parts: Parts) -> None:
        """Raise UserError for what does not go together, before anything is downloaded or trained."""
        if not parts.teacher.exists:
            raise UserError("plan=assistants: they stand between a teacher and the student; choose a teacher")
        parts.check_plain(self.name)
        if self.dense and parts.teacher.weighs_terms:
            raise UserError(
                "plan.dense=true: sums a term over all that teach, and the members of this teacher weigh in each by "
                "themselves; take teacher.combine=mean_logits, or plan.dense=false"
            )
        if any(one.student.adapt for one in parts.students or [parts]):
            raise UserError(
                "student.adapt: rebuilds the student alone, and the assistants of plan=assistants learn on the same "
                "terms as they are; use plan=distillation"
            )

    def steps(self, parts: Parts) -> Steps:
        taught_by = [(yield parts.teacher)]
        for place, (name, model) in enumerate(zip(self.names, self.assistants, strict=True)):
            network = parts.network(model, key=f"plan.assistants.{place}")
            title = name.replace("_", " ")
            training = parts.distilled(name, network, taught_by[-1], title=title, role=Role.ASSISTANT, is_kept=True)
            taught_by.append((yield self.by_all(training, taught_by, parts)))
        if parts.compares:
            yield from parts.students_alone()
        yield self.by_all(parts.distilled_together(taught_by[-1]), taught_by, parts)

    def by_all(self, training: Training, taught_by: Sequence[Trained], parts: Parts) -> Training:
        """The training as it is, or with all that stand before its network as teachers."""
        if not self.dense or len(taught_by) == 1:
            return training
        sources = {one.name: one for one in taught_by}
        drop = min(self.drop, len(sources) - 1)

        def over_all(own: Callable[[], Terms]) -> Part[Terms]:
            def terms() -> Terms:
                made = {name: OverTeachers.around(term, [*sources]) for name, term in own().items()}
                for term in made.values():
                    if isinstance(term, OverTeachers):
                        term.drop, term.seed = drop, parts.recipe.seed
                return made

            return Part(terms, {**parts.terms.settings, "teachers": {"sources": [*sources], "drop": drop}})

        learners = {name: one._replace(terms=over_all(one.terms)) for name, one in training.learners.items()}
        return training._replace(learners=learners, sources=sources)


class OverTeachers(OverSources):
    """The sum of a term's values over its teachers but for `drop` of them, which each step draws anew.

    What a step draws is a pure function of the seed and the training's progress, and equal for all terms and ranks.
    """

    stands_for = "teacher"
    drop = seed = 0

    def combined(self, values: Tensor, progress: Progress) -> Tensor:
        step = int.from_bytes(struct.pack(">d", progress.epoch), "big")
        drawn = sorted(range(len(values)), key=lambda place: fold(self.seed, step, place))
        left_out = drawn[: self.drop]
        # Times 0 and not left out: on each rank all parameters get a gradient. No tensor is made of the drawn numbers,
        # which a step would wait for to be copied to the device.
        return torch.stack([value * float(place not in left_out) for place, value in enumerate(values)]).sum()
