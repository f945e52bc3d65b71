"""A student that is distilled into itself, again and again."""

from kd_lightning.errors import UserError
from kd_lightning.plans.distillation import Distillation
from kd_lightning.plans.plan import Parts, Steps
from kd_lightning.signals import requested
from kd_lightning.training.steps import Mean


class BornAgain:
    """Generations of the student, of which each learns from the one before, the first from the teacher.

    Without a teacher the first learns from the student trained alone, as published. One generation is then teacher-free
    distillation by self-training, Tf-KD_self (Yuan et al. 2020, arXiv:1909.11723).

    Born-again networks (Furlanello et al. 2018, arXiv:1805.04770), with the mean of all generations' logits measured at
    the end. Each generation begins with random weights of its own seed; a public implementation lets them share one.
    All but the last are kept for other runs.

    Args:
        generations: how many, at least 1.

    Raises UserError for fewer.

    Examples:
        >>> from kd_lightning.plans import BornAgain
        >>> BornAgain(generations=3).names
        ['generation_1', 'generation_2', 'student']
    """

    name = "born_again"
    networks = Distillation.networks
    teaches = teaches_alone = True

    def __init__(self, generations: int = 3) -> None:
        if not isinstance(generations, int) or isinstance(generations, bool) or generations < 1:
            raise UserError(f"plan.generations={generations}: give how many times the student is born, at least 1")
        self.generations = generations

    @property
    def names(self) -> list[str]:
        return [*(f"generation_{place}" for place in range(1, self.generations)), "student"]

    def check(self, parts: Parts) -> None:
        """Raise UserError for what does not go together, before anything is downloaded or trained."""
        if not parts.teacher.exists and not any(requested("teacher", term.names()) for term in parts.terms().values()):
            raise UserError(
                "plan=born_again: the first generation learns from a teacher, or without one from the student trained "
                "alone, and no term takes its signals; give loss=[ce,kd], or a term that does"
            )
        parts.check_plain(self.name)

    def steps(self, parts: Parts) -> Steps:
        teacher = (yield parts.teacher) if parts.teacher.exists else None
        alone = (yield parts.student_alone()) if parts.compares or teacher is None else None
        taught_by = teacher or alone
        assert taught_by is not None
        born = []
        for place, name in enumerate(self.names, start=1):
            title, is_kept = f"generation {place}", place < self.generations
            taught_by = yield parts.distilled(
                name, parts.student, taught_by, title=title, is_kept=is_kept, seeds_on=place
            )
            born.append(taught_by)
        if len(born) > 1:
            yield Mean("all_generations", born, title="all generations")
