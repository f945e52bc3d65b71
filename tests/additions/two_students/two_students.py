"""Two students of one kind teach each other, without a teacher."""

from collections.abc import Mapping

from kd_lightning import Term
from kd_lightning.losses import CrossEntropy, SoftTarget
from kd_lightning.plans import Learner, Parts, Steps, Training


class TwoStudents:
    """Deep mutual learning (Zhang et al. 2018, arXiv:1706.00384): CE(y, p) + weight·KL(p_peer ‖ p) for each."""

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def terms(self) -> Mapping[str, Term]:
        mimicry = Term(SoftTarget(temperature=1.0), ["student.logits", "peers.logits"], self.weight)
        return {"ce": Term(CrossEntropy(), ["student.logits", "target"]), "mimicry": mimicry}

    def steps(self, parts: Parts) -> Steps:
        learners = {name: Learner(parts.student, self.terms, seeds_on=n) for n, name in enumerate(("first", "second"))}
        yield Training("students", learners, parts.recipe, parts.context.data)
