"""A teacher, where there is one, the student alone, the distilled student."""

from kd_lightning.errors import UserError
from kd_lightning.plans.plan import Parts, Steps


class Distillation:
    """The student learns from the teacher, perhaps after a training before it, and is compared with itself alone.

    Without a teacher it is compared where it teaches itself (`Term.is_taught`); ordinary supervised training is the
    student alone already. A teacher that learns beside the student is trained in the student's training.

    Examples:
        >>> from kd_lightning.plans import Distillation
        >>> Distillation().networks
        ('teacher', 'scratch', 'student')
    """

    name = "distillation"
    networks = ("teacher", "scratch", "student")  # each of which its summary tells, as null where it is not there
    lets_teacher_learn = True

    def check(self, parts: Parts) -> None:
        """Raise `UserError` for what needs a teacher that is trained already, where it learns beside the student."""
        if not parts.teacher.learns:
            return
        if parts.student.adapt:
            raise UserError(
                "student.adapt: rebuilds the student around a teacher that is trained already, and with "
                "teacher.trained=true it learns beside the student; use teacher.trained=false"
            )
        if parts.pretraining is not None:
            raise UserError(
                "initialization: is a training before the student's, and with teacher.trained=true the teacher learns "
                "in that one alone; use a method without, or teacher.trained=false"
            )

    def steps(self, parts: Parts) -> Steps:
        is_before = parts.teacher.exists and not parts.teacher.learns
        teacher = (yield parts.teacher) if is_before else None
        if parts.is_taught and parts.compares:
            yield parts.student_alone()
        title = "distilled student" if parts.is_taught else "student"
        student = parts.distilled("student", parts.student, teacher, title=title)
        if parts.pretraining is not None:
            prepared = yield parts.prepared(student)
            student = parts.distilled("student", parts.student, teacher, title=title, starts_from=prepared)
        yield parts.beside_its_teacher(student) if parts.teacher.learns else student
