"""A student whose stages learn each by itself, and are then joined."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch import nn

from kd_lightning.batch import Input
from kd_lightning.data import DataModule
from kd_lightning.errors import UserError
from kd_lightning.losses import FitNet
from kd_lightning.models.projectors import Connector
from kd_lightning.networks import Network
from kd_lightning.plans.plan import Parts, Steps
from kd_lightning.plans.stages import check_epochs, check_parts, is_stage, split, taps_of
from kd_lightning.sources import BlockwiseTeacher, Source
from kd_lightning.sources.blockwise import Shape, given, replaceable
from kd_lightning.term import Projector, Term
from kd_lightning.training.context import Context
from kd_lightning.training.keys import told
from kd_lightning.training.steps import LearnedFrom, Trained, Training

Shapes = Mapping[str, tuple[Shape, Shape]]


class Blocks:
    """Each stage of the student learns on what the teacher's stage before it gives; joined, they are tuned as a whole.

    All stages learn at once in one training, which is kept for all runs: each by the plan's `term` of what it gives and
    what the teacher's stage gives, the head by those terms of the loss that take no stage. See `BlockwiseTeacher`, and
    conf/plan/blocks.yaml for what the arguments are. The training behind it, on all terms of the loss, begins with the
    student that this gave.

    Raises UserError where the two networks do not have the same stages.

    Examples:
        >>> from kd_lightning.plans import Blocks
        >>> Blocks(epochs=10).networks
        ('teacher', 'scratch', 'blocks', 'student')
    """

    name = "blocks"
    networks = ("teacher", "scratch", "blocks", "student")

    def __init__(self, term: Term | None = None, projector: Projector = Connector, epochs: int | None = None) -> None:
        self.term = Term(FitNet(), ["student.stage", "teacher.stage"], projector=Connector) if term is None else term
        self.projector, self.epochs = projector, epochs

    def check(self, parts: Parts) -> None:
        """Raise UserError for what does not go together, before anything is downloaded or trained."""
        check_epochs(self.epochs)
        check_parts(parts, self.name)
        parts.check_plain(self.name)
        if len(parts.teacher.networks()) != 1:
            raise UserError(f"plan={self.name}: learns from the stages of one network; choose a teacher that is one")
        if parts.student.adapt:
            raise UserError(
                f"student.adapt: rebuilds the student around its teacher, whose stages plan={self.name} puts in front "
                "of the student's; use plan=distillation"
            )
        if parts.recipe.compile:
            raise UserError(
                f"compile={parts.recipe.compile}: plan={self.name} stands between the student's stages while they "
                "learn, which a compiled network does not let it; use compile=false"
            )
        self.terms(parts)
        data, width = parts.context.data, parts.context.task.width
        for tap, address in parts.student.seen(data, width, {"stages"}).taps.items():
            if is_stage(tap):
                replaceable(f"student.taps.{tap}", address)

    def steps(self, parts: Parts) -> Steps:
        teacher = yield parts.teacher
        if parts.compares:
            yield parts.student_alone()
        joined = yield self.training(parts, teacher)
        before = joined._replace(terms_state={})
        yield parts.distilled("student", parts.student, teacher, title="distilled student", starts_from=before)

    def training(self, parts: Parts, teacher: Trained) -> Training:
        """The training of all stages at once."""
        terms, shapes = self.terms(parts), self.shapes(parts)
        own = parts.distilled("blocks", parts.student, teacher.uncached(), title="joined blocks", is_kept=True)
        (learner,) = own.learners.values()
        (source,) = own.sources.values()
        assert not isinstance(source.described, Network)
        feeding = source._replace(described=Feeding(source.described, shapes, self.projector))
        return own._replace(
            learners={own.name: learner._replace(terms=lambda: terms)},
            sources={"teacher": feeding},
            recipe=own.recipe.lasting(self.epochs),
            curriculum=None,
        )

    def terms(self, parts: Parts) -> dict[str, Term]:
        """What the stages learn on, and what the head does. Raises UserError."""
        loss = dict(parts.terms())
        staged = split(loss, taps_of(parts, loss))
        head = {name: term for name, term in loss.items() if not any(name in each for each in staged.values())}
        if not head:
            raise UserError(
                f"loss=[{','.join(loss)}]: all of it is of stages, and the student's head learns on the logits; add ce "
                "or kd"
            )
        of_stages = split({"stage": self.term}, taps_of(parts, {"stage": self.term}), "plan.term")
        found = {f"stage{number}": own["stage"] for number, own in sorted(of_stages.items())}
        shapes = self.shapes(parts)
        between = {
            given(tap): Term(FitNet(), [f"teacher.{given(tap)}", f"student.{tap}.detached"])
            for tap, (student, teacher) in shapes.items()
            if student != teacher
        }
        return {**found, **between, **head}

    def shapes(self, parts: Parts) -> Shapes:
        """The shapes of the student's and the teacher's stages by tap."""
        data, width = parts.context.data, parts.context.task.width
        (network,) = parts.teacher.networks().values()
        student, teacher = (one.seen(data, width, {"stages"}).shapes for one in (parts.student, network))
        return {tap: (student[tap], teacher[tap]) for tap in student if is_stage(tap) and tap in teacher}


@dataclass(frozen=True)
class Feeding:
    """A teacher as what the stages of a student learn from; see `BlockwiseTeacher`."""

    teacher: LearnedFrom
    shapes: Shapes
    projector: Projector

    @property
    def name(self) -> str:
        return self.teacher.name

    def like(self, data: DataModule, example: Input) -> nn.Module | None:
        return self.teacher.like(data, example)

    def source(self, built: nn.Module, names: Iterable[str], context: Context) -> Source:
        stages = [f"teacher.{tap}" for tap in self.shapes]
        return BlockwiseTeacher(self.teacher.source(built, stages, context), self.shapes, self.projector)

    def callbacks(self) -> Sequence[Callback]:
        return self.teacher.callbacks()

    def uncached(self) -> LearnedFrom:
        return self

    def in_key(self) -> Mapping[str, Any]:
        return {**self.teacher.in_key(), "projector": told(self.projector)}

    def logits_tap(self) -> dict[str, str] | str:
        return self.teacher.logits_tap()
