"""Students that learn from one another."""

import copy
from collections.abc import Callable

from kd_lightning.errors import UserError
from kd_lightning.losses import SoftTarget
from kd_lightning.plans.distillation import Distillation
from kd_lightning.plans.plan import Parts, Steps
from kd_lightning.signals import PEERS, read
from kd_lightning.term import Term
from kd_lightning.training.context import Terms


class Mutual:
    """Several students learn in one training, each from the others too, and from a teacher where there is one.

    Deep mutual learning (Zhang et al. 2018, arXiv:1706.00384): L_k = CE(y, p_k) + 1/(K−1)·Σ_l KL(p_l ‖ p_k), where no
    gradient reaches p_l. What they learn from one another are the terms of the loss that take `peers`, or where it has
    none the plan's own `term`. All are stepped at once by what they said before the step, and not one after the other.

    Students that begin equal would stay equal and learn nothing from one another: of equal models each has random
    weights of its own seed.

    Args:
        term: takes `student` and `peers`; None: KL at temperature 1.

    Examples:
        >>> from kd_lightning.plans import Mutual
        >>> Mutual().term.signals
        ['student.logits', 'peers.logits']
    """

    name = "mutual"
    networks = Distillation.networks
    takes_students = teaches = True

    def __init__(self, term: Term | None = None) -> None:
        self.term = Term(SoftTarget(1.0), ["student.logits", "peers.logits"]) if term is None else term

    def check(self, parts: Parts) -> None:
        """Raise UserError for what does not go together, before anything is downloaded or trained."""
        if not parts.students:
            raise UserError(
                "student.models=null: plan=mutual has students that learn from one another; give two or more, such as "
                "student.models=[resnet20,resnet32]"
            )
        if not isinstance(self.term, Term):
            raise UserError(f"plan.term={self.term}: must be a term, as in conf/plan/mutual.yaml")
        if not takes_peers({self.name: self.term}):
            raise UserError(
                f"plan.term: takes {', '.join(self.term.names())}, and nothing of peers; take peers.logits, as in "
                "conf/plan/mutual.yaml"
            )

    def steps(self, parts: Parts) -> Steps:
        teacher = (yield parts.teacher) if parts.teacher.exists else None
        seeds_on = apart(parts)
        if parts.compares:
            yield from parts.students_alone(seeds_on)
        yield parts.distilled_together(teacher, self.terms, seeds_on)

    def terms(self, parts: Parts) -> Callable[[], Terms]:
        """Makes the terms of a student: its loss, with the plan's own term where that takes nothing of its peers."""

        def make() -> Terms:
            loss = parts.terms()
            return loss if takes_peers(loss) else {**loss, self.name: copy.deepcopy(self.term)}

        return make


def takes_peers(terms: Terms) -> bool:
    """Whether a term takes signals of the other learners."""
    names = (name for term in terms.values() for name in term.names())
    return any(signal is not None and signal.source == PEERS for signal in map(read, names))


def apart(parts: Parts) -> list[int]:
    """How far the seed of each student's random weights is from the run's: of equal models each has its own."""
    models = [own.student.named_model() for own in parts.students]
    return [models[:place].count(model) for place, model in enumerate(models)]
