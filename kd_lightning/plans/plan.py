"""What a plan is given, and what it yields."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from kd_lightning.errors import UserError
from kd_lightning.networks import Network, Student
from kd_lightning.part import Part
from kd_lightning.runs.summary import Role
from kd_lightning.teachers import Teacher
from kd_lightning.training.context import Context, Recipe, Terms
from kd_lightning.training.steps import Convert, Learner, Mean, Trained, Training, by_itself

Step = Training | Convert | Mean | Teacher
Steps = Generator[Step, Trained, None]


@dataclass(frozen=True)
class Pretraining:
    """A training before the training of a student, by a recipe and on terms of its own."""

    recipe: Recipe
    terms: Part[Terms]


@dataclass(frozen=True)
class Parts:
    """The parts of an experiment, of which a plan makes its steps.

    Args:
        student: the network that the experiment is about.
        teacher: what it learns from; yielded, it is trained first where need be, and measured.
        terms: makes the terms of its loss.
        recipe: how it is trained when it is distilled.
        context: data, task, and what all trainings have in common.
        compares: whether the student is also to be trained by itself.
        pretraining: the training before its training; None: none.
        curriculum: makes what decides which samples are seen when; None: all of them, shuffled.
        students: of several students the parts of the experiment with each alone; `student` is the first.
    """

    student: Student
    teacher: Teacher
    terms: Part[Terms]
    recipe: Recipe
    context: Context
    compares: bool = True
    pretraining: Pretraining | None = None
    curriculum: Part[Any] | None = None
    students: Sequence["Parts"] = ()

    @cached_property
    def is_taught(self) -> bool:
        """Whether the student learns from what networks answer: a teacher, its peers, or itself."""
        return is_taught(self.teacher, self.terms)

    def network(self, model: Any, key: str | None = None) -> Student:
        """Another network, by the name of a model: random, and with taps and normalisation that are found.

        `key` is where the model stands in the config.
        """
        return replace(
            self.student,
            model=model,
            weights=None,
            weights_key=None,
            weights_map=None,
            taps="auto",
            normalization="auto",
            adapt=None,
            key=key,
        )

    def by_itself(self, name: str, network: Network, **options: Any) -> Training:
        """A training of a network that learns from nobody; found again by later runs."""
        return by_itself(name, network, self.context, **options)

    def student_alone(self) -> Training:
        """The training of the student by itself, which it is compared with."""
        return self.by_itself("scratch", self.student, title="student alone", role=Role.BASELINE, called="alone")

    def students_alone(self, seeds_on: Sequence[int] = ()) -> Iterator[Training]:
        """The same of each of several students, `scratch_1`, `scratch_2`, …, with seeds so far from the recipe's."""
        if not self.students:
            yield self.student_alone()
        for place, own in enumerate(self.students):
            title, on = f"student {place + 1} alone", seeds_on[place] if seeds_on else 0
            yield own.by_itself(
                f"scratch_{place + 1}", own.student, title=title, role=Role.BASELINE, called="alone", seeds_on=on
            )

    def distilled(
        self,
        name: str,
        network: Network,
        teacher: Trained | None,
        *,
        title: str = "",
        role: Role = Role.STUDENT,
        starts_from: Trained | None = None,
        is_kept: bool = False,
        seeds_on: int = 0,
    ) -> Training:
        """A training on the experiment's terms, by its recipe; the last one of a plan is not kept.

        `seeds_on` is how far the seed of the network's random weights is from the recipe's.
        """
        if starts_from is not None and isinstance(starts_from.described, Student):
            network = starts_from.described
        learner = Learner(network, self.terms, title, role, starts_from=starts_from, seeds_on=seeds_on)
        sources = {} if teacher is None else {"teacher": teacher}
        return Training(
            name, {name: learner}, self.recipe, self.context.data, sources, is_kept, curriculum=self.curriculum
        )

    def beside_its_teacher(self, training: Training) -> Training:
        """The same training, in which the experiment's teacher learns, too; of a model like the student's otherwise.

        Networks of one model would begin as one, and learn nothing from one another.
        """
        learner = self.teacher.learner(self.context)
        is_alike = learner.network.settings in [one.network.settings for one in training.learners.values()]
        own = learner._replace(seeds_on=1) if is_alike else learner
        return training._replace(learners={**training.learners, self.teacher.role: own})

    def distilled_together(
        self,
        teacher: Trained | None,
        terms: Callable[["Parts"], Callable[[], Terms]] | None = None,
        seeds_on: Sequence[int] = (),
        starts_from: Trained | None = None,
    ) -> Training:
        """The training of all students at once, `student_1`, `student_2`, …, or of the only one, `student`.

        `terms` are those of the parts of each; None: the loss. Each is compared with itself alone, `students_alone`.
        """
        title = "distilled student" if self.is_taught else "student"
        own = self.distilled("student", self.student, teacher, title=title, starts_from=starts_from)
        if not self.students:
            return own
        learners = {
            f"student_{place}": Learner(
                one.student,
                one.terms if terms is None else terms(one),
                f"{title} {place}",
                recipe=one.recipe,
                baseline=f"scratch_{place}",
                seeds_on=seeds_on[place - 1] if seeds_on else 0,
            )
            for place, one in enumerate(self.students, start=1)
        }
        return own._replace(name="students", learners=learners)

    def check_plain(self, plan: str) -> None:
        """Raise `UserError` for a training before the student's, in a plan whose every network would need one."""
        if self.pretraining is not None:
            raise UserError(
                f"plan={plan}: each of its networks would need the training before its training that the method begins "
                "with; use a method without initialization, or plan=distillation"
            )

    def prepared(self, training: Training) -> Training:
        """The training before one, in which its network and parts of its terms learn on the pretraining's terms."""
        assert self.pretraining is not None
        learners = {name: one._replace(terms=self.pretraining.terms) for name, one in training.learners.items()}
        sources = {name: one.uncached() for name, one in training.sources.items()}
        recipe = self.pretraining.recipe
        return Training(
            "initialization", learners, recipe, training.data, sources, prepares=training, called=training.called
        )


def is_taught(teacher: Teacher, terms: Callable[[], Terms]) -> bool:
    """Whether a student learns from what networks answer; its terms are made where there is no teacher alone."""
    return teacher.exists or any(term.is_taught for term in terms().values())


def in_common(each: Sequence[Parts], recipe: Recipe, terms: Part[Terms], context: Context) -> Parts:
    """The parts of several students: what comes before these learns as they do, and in what they differ as all."""
    first = each[0]

    def differ(part: Callable[[Parts], Part[Any] | None]) -> bool:
        settings = [None if (own := part(one)) is None else own.settings for one in each]
        return any(one != settings[0] for one in settings)

    found = first.recipe
    if differ(lambda one: one.recipe.optimizer):
        found = replace(found, optimizer=recipe.optimizer)
    if differ(lambda one: one.recipe.scheduler):
        found = replace(found, scheduler=recipe.scheduler)
    own = terms if differ(lambda one: one.terms) else first.terms
    return replace(first, recipe=found, terms=own, context=context, students=each)


class Plan(Protocol):
    """Which trainings follow which. One of your own is a class with this method.

    `steps` yields one step after the other, a `Training`, a `Convert`, a `Mean` or the experiment's teacher, and is
    handed what each gave: a `Trained`. The last training is the one that the run is about, which means alone may
    follow; those before it that are kept are found again by later runs. Where it has a method `check(parts)`, that
    raises `UserError` for what cannot be, before anything is downloaded. `takes_students = True` says that it trains
    several students, `teaches = True` that they learn from one another whatever the loss says, `teaches_alone = True`
    that without a teacher the student trained alone is one, `lets_teacher_learn = True` that its last training may
    change the teacher.

    Examples:
        >>> from kd_lightning.plans import Parts, Steps
        >>> class Chain:  # the teacher teaches an assistant, which teaches the student
        ...     def steps(self, parts: Parts) -> Steps:
        ...         teacher = yield parts.teacher
        ...         assistant = yield parts.distilled("assistant", parts.network("resnet20"), teacher, is_kept=True)
        ...         yield parts.distilled("student", parts.student, assistant)
    """

    def steps(self, parts: Parts) -> Steps: ...


def check_plan(plan: Plan, parts: Parts) -> None:
    """Have a plan say what of the parts does not go with it, where it has a method `check`. Raises UserError.

    A teacher that the student's training changes is for plans which say that they let it, `lets_teacher_learn`, and
    several students for those that say `takes_students`.
    """
    name = getattr(plan, "name", type(plan).__name__)
    if parts.teacher.changes_by is not None and not getattr(plan, "lets_teacher_learn", False):
        raise UserError(
            f"{parts.teacher.changes_by}: plan={name} takes a teacher that stays as it is; use plan=distillation, or "
            "another teacher"
        )
    if parts.students and parts.pretraining is not None:
        raise UserError(
            "student.models: the method begins with a training before the training, which is for one student; give "
            "student.model, or a method without initialization"
        )
    if parts.students and not getattr(plan, "takes_students", False):
        raise UserError(
            f"student.models: plan={name} is about one student; give student.model, or plan=distillation, which trains "
            "several"
        )
    followed = parts.curriculum() if parts.students and parts.curriculum is not None else None
    if followed is not None and followed.learns and not getattr(plan, "teaches", False):
        raise UserError(
            f"curriculum={type(followed).__name__}: follows one student, and student.models are several that each "
            "learn as it would alone; give student.model, or a curriculum that goes by the data or the teacher"
        )
    check: Callable[[Parts], None] | None = getattr(plan, "check", None)
    if check is not None:
        check(parts)
