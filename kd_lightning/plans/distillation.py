"""A teacher, where there is one, the student alone, the distilled student."""

from kd_lightning.plans.plan import Parts, Steps


class Distillation:
    """The student learns from the teacher, perhaps after a training before it, and is compared with itself alone.

    Without a teacher it is compared where it teaches itself (`Term.is_taught`); ordinary supervised training is the
    student alone already.

    Examples:
        >>> from kd_lightning.plans import Distillation
        >>> Distillation().networks
        ('teacher', 'scratch', 'student')
    """

    name = "distillation"
    networks = ("teacher", "scratch", "student")  # each of which its summary tells, as null where it is not there

    def steps(self, parts: Parts) -> Steps:
        teacher = (yield parts.teacher) if parts.teacher.exists else None
        if parts.is_taught and parts.compares:
            yield parts.student_alone()
        title = "distilled student" if parts.is_taught else "student"
        student = parts.distilled("student", parts.student, teacher, title=title)
        if parts.pretraining is not None:
            prepared = yield parts.prepared(student)
            student = parts.distilled("student", parts.student, teacher, title=title, starts_from=prepared)
        yield student
