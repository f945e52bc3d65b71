"""A teacher that is trained at the same time as the student that learns from it."""

from collections.abc import Mapping

from kd_lightning import Term
from kd_lightning.losses import CrossEntropy, SoftTarget
from kd_lightning.plans import Learner, Parts, Role, Steps, Training


class JointTeacher:
    """Minimises CE(y, p_s) + T²·KL(p_t ‖ p_s) of the student, and λ·CE(y, p_t) of the teacher, in one fit."""

    def __init__(self, model: str, weight: float = 0.5, temperature: float = 4.0) -> None:
        self.model, self.weight, self.temperature = model, weight, temperature

    def of_student(self) -> Mapping[str, Term]:
        soft = Term(SoftTarget(temperature=self.temperature), ["student.logits", "teacher.logits"])
        return {"ce": Term(CrossEntropy(), ["student.logits", "target"]), "kd": soft}

    def of_teacher(self) -> Mapping[str, Term]:
        return {"ce": Term(CrossEntropy(), ["student.logits", "target"], self.weight)}

    def steps(self, parts: Parts) -> Steps:
        teacher = Learner(parts.network(self.model), self.of_teacher, role=Role.TEACHER)
        learners = {"student": Learner(parts.student, self.of_student), "teacher": teacher}
        yield Training("joint", learners, parts.recipe, parts.context.data)
