"""A teacher, where there is one, the student alone, the distilled student."""

from typing import Any

from kd_lightning.errors import UserError
from kd_lightning.networks import Student
from kd_lightning.plans.plan import Parts, Steps


class Distillation:
    """The student learns from the teacher, perhaps after a training before it, and is compared with itself alone.

    Without a teacher it is compared where it teaches itself (`Term.is_taught`); ordinary supervised training is the
    student alone already. A teacher that learns beside the student is trained in the student's training. Several
    students learn in one training, each as it would by itself.

    Examples:
        >>> from kd_lightning.plans import Distillation
        >>> Distillation().networks
        ('teacher', 'scratch', 'student')
    """

    name = "distillation"
    networks = ("teacher", "scratch", "student")  # each of which its summary tells, as null where it is not there
    lets_teacher_learn = takes_students = True

    def check(self, parts: Parts) -> None:
        """Raise `UserError` for students that would come out the same, and for what needs a teacher that stays."""
        students = [own.student for own in parts.students]
        for place, student in enumerate(students):
            for other in students[:place]:
                if described(student) == described(other):
                    raise UserError(
                        f"{student.model_key}={student.name}: is the same as {other.model_key}, and would learn the "
                        "same; give it another model or optimizer, or plan=mutual, which has equal ones begin apart"
                    )
        by = parts.teacher.changes_by
        if by is None:
            return
        if parts.students and not parts.teacher.learns:
            raise UserError(
                f"{by}: it learns from how one student does, and student.models are several; give student.model"
            )
        if parts.student.adapt:
            raise UserError(
                f"student.adapt: rebuilds the student around a teacher that stays as it is, and with {by} it learns; "
                "use another teacher"
            )
        if parts.pretraining is not None:
            raise UserError(
                f"initialization: is a training before the student's, and with {by} the teacher learns in that one "
                "alone; use a method without, or another teacher"
            )

    def steps(self, parts: Parts) -> Steps:
        is_before = parts.teacher.exists and not parts.teacher.learns
        teacher = (yield parts.teacher) if is_before else None
        if parts.is_taught and parts.compares:
            yield from parts.students_alone()
        students = parts.distilled_together(teacher)
        if parts.pretraining is not None:
            prepared = yield parts.prepared(students)
            students = parts.distilled_together(teacher, starts_from=prepared)
        students = students._replace(data=parts.teacher.taught_on(students.data))
        yield parts.beside_its_teacher(students) if parts.teacher.learns else students


def described(student: Student) -> tuple[Any, ...]:
    """A student as plain values, wherever it stands in the config."""
    return student.as_values(), student.weights, student.weights_key, student.optimizer, student.scheduler
