"""A teacher teaches an assistant between it and the student in size, and the assistant teaches the student."""

from kd_lightning.plans import Parts, Role, Steps


class OneAssistant:
    """Mirzadeh et al. 2020, arXiv:1902.03393, with one assistant; it is kept for all students that learn from it."""

    def __init__(self, model: str) -> None:
        self.model = model

    def steps(self, parts: Parts) -> Steps:
        teacher, network = (yield parts.teacher), parts.network(self.model)
        assistant = yield parts.distilled("assistant", network, teacher, role=Role.ASSISTANT, is_kept=True)
        yield parts.distilled("student", parts.student, assistant)
