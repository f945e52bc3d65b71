"""A student that follows the teacher's own training."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kd_lightning.errors import UserError
from kd_lightning.plans.distillation import Distillation
from kd_lightning.plans.plan import Parts, Steps
from kd_lightning.sources import Mastery
from kd_lightning.sources.route import check_moves
from kd_lightning.teachers import NetworkTeacher, RouteTeacher


class Route:
    """The student learns from what the teacher was early in its own training, then later, and at last from the teacher.

    Route constrained optimization, Jin et al. 2019, arXiv:1904.09149; see conf/plan/route.yaml for what its arguments
    are. One training with one schedule: what changes is whom it learns from, as an epoch begins.

    Raises UserError for a teacher that is not trained here, or in too few epochs.

    Examples:
        >>> from kd_lightning.plans import Route
        >>> Route(anchors=4).epochs(of=10)  # of the teacher's training; the fourth anchor is the trained teacher
        [2, 5, 7]
    """

    name = "route"
    networks = Distillation.networks

    def __init__(self, anchors: Any = 4, moves: Any = None, gate: Any = None) -> None:
        self.anchors, self.moves = anchors, moves
        self.gate = gate
        if isinstance(gate, (int, float)) and not isinstance(gate, bool):
            if not gate > 0:
                raise UserError(f"plan.gate={gate}: must be a share above 0, such as 0.9, or null")
            self.gate = Mastery(gate)

    def epochs(self, of: int) -> list[int]:
        """The epochs of the teacher's training, of so many, after which it is kept."""
        if isinstance(self.anchors, int):
            return [place * of // self.anchors for place in range(1, self.anchors)]
        return [*self.anchors]

    def check(self, parts: Parts) -> None:
        """Raise UserError for what does not go together, before anything is downloaded or trained."""
        self.along(parts)

    def steps(self, parts: Parts) -> Steps:
        yield from Distillation().steps(replace(parts, teacher=self.along(parts)))

    def along(self, parts: Parts) -> RouteTeacher:
        """The teacher of an experiment along its training. Raises UserError for one without, or beside other parts."""
        teacher = parts.teacher
        self.check_arguments()
        check_teacher(teacher)
        assert isinstance(teacher, NetworkTeacher)
        if parts.pretraining is not None:
            raise UserError(
                "plan=route: follows the teacher in one training, and initialization is another one before it; use "
                "plan=distillation, or initialization=null"
            )
        if self.gate is not None and parts.context.data.validates_on != "validation":
            raise UserError(
                f"plan.gate={self.told_gate()}: compares student and anchor on validation data, and there are none; "
                "set data.val_fraction above 0, or plan.gate=null"
            )
        if teacher.answers.is_on and teacher.answers.cache != "logits":
            raise UserError(
                f"teacher.cache={teacher.answers.cache}: is of one network, and plan=route has several anchors; use "
                "teacher.cache=logits, which keeps the answers of each"
            )
        own = parts.context.alone[teacher.network.alone].recipe.trainer.settings.get("max_epochs")
        last = own if isinstance(own, int) and own > 0 else None
        return RouteTeacher(teacher, self.epochs_of(last), self.moves_of(parts), self.gate)

    def check_arguments(self) -> None:
        """Raise UserError for anchors or a gate that are none."""
        anchors = self.anchors
        if isinstance(anchors, int) and not isinstance(anchors, bool):
            sound = anchors >= 1
        else:
            listed = isinstance(anchors, Sequence) and not isinstance(anchors, str) and len(anchors) > 0
            sound = listed and all(isinstance(one, int) and one >= 1 for one in anchors)
            sound = sound and [*anchors] == sorted({*anchors})
        if not sound:
            raise UserError(
                f"plan.anchors={anchors}: must be how many, from 1 on, or a list of the teacher's epochs, ascending, "
                "such as [10,20,40]"
            )
        if self.gate is not None and not callable(self.gate):
            raise UserError(f"plan.gate={self.gate}: must be a share such as 0.9, a class's {{_target_: …}}, or null")

    def epochs_of(self, last: int | None) -> list[int]:
        """The epochs of the teacher's training after which it is kept. Raises UserError where it has too few."""
        anchors = self.anchors
        if last is None:
            if isinstance(anchors, int):
                raise UserError(
                    f"plan.anchors={anchors}: are at equal distances in the teacher's training, and trainer.max_epochs "
                    "does not tell its length; name its epochs, such as [10,20,40], or give teacher.trainer.max_epochs"
                )
            return self.epochs(of=0)
        if isinstance(anchors, int) and anchors > last:
            raise UserError(f"plan.anchors={anchors}: the teacher trains {last} epochs; give at most {last}")
        if not isinstance(anchors, int) and anchors[-1] >= last:
            raise UserError(
                f"plan.anchors={[*anchors]}: the teacher trains {last} epochs, and is the last anchor itself; name "
                "earlier ones"
            )
        return self.epochs(of=last)

    def moves_of(self, parts: Parts) -> list[int] | None:
        """The student's epochs in which it goes on. Raises UserError where it has too few."""
        count = self.anchors if isinstance(self.anchors, int) else len(self.anchors) + 1
        check_moves(self.moves, count, "plan.moves")
        own = parts.recipe.trainer.settings.get("max_epochs")
        if isinstance(own, int) and 0 < own < count and self.moves is None:
            raise UserError(
                f"plan.anchors={self.anchors}: the student trains {own} epochs, and learns from one of {count} anchors "
                f"in each; give at most {own} anchors, or more epochs"
            )
        if isinstance(own, int) and own > 0 and self.moves and self.moves[-1] >= own:
            raise UserError(
                f"plan.moves={[*self.moves]}: the student trains {own} epochs, and never comes to the last anchor; "
                "give earlier ones"
            )
        return None if self.moves is None else [*self.moves]

    def told_gate(self) -> Any:
        return self.gate.share if isinstance(self.gate, Mastery) else type(self.gate).__name__


def check_teacher(teacher: Any) -> None:
    """Raise UserError for a teacher without a training of its own that could be followed."""
    if not isinstance(teacher, NetworkTeacher) or not teacher.exists:
        what = teacher.name or "none"
        raise UserError(
            f"plan=route: follows the training of one network, and the teacher is {what}; give teacher.model"
        )
    network = teacher.network
    if network.finetune is not None or not network.is_trained_first:
        weights = "null" if network.weights is None else network.weights
        raise UserError(
            f"teacher.weights={weights}: was not trained here, and plan=route follows the teacher's own training; use "
            "teacher.weights=train, or plan=distillation"
        )
