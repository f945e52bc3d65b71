"""A teacher, the student alone, the distilled student."""

from kd_lightning.plans.plan import Parts, Steps


class Distillation:
    """The student learns from the teacher, perhaps after a training before it, and is compared with itself alone.

    Examples:
        >>> from kd_lightning.plans import Distillation
        >>> Distillation().networks
        ('teacher', 'scratch', 'student')
    """

    name = "distillation"
    networks = ("teacher", "scratch", "student")  # each of which its summary tells, as null where it is not there

    def steps(self, parts: Parts) -> Steps:
        teacher = (yield parts.teacher) if parts.teacher.exists else None
        if teacher is not None and parts.compares:
            yield parts.student_alone()
        title = "student" if teacher is None else "distilled student"
        student = parts.distilled("student", parts.student, teacher, title=title)
        if parts.pretraining is not None:
            prepared = yield parts.prepared(student)
            student = parts.distilled("student", parts.student, teacher, title=title, starts_from=prepared)
        yield student
