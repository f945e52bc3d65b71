"""A walk along the path: which concept is taught, which are mastered, what was decided and why."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kd_lightning.curricula.path.gates import Assessed, Gate
from kd_lightning.curricula.path.kinds import some
from kd_lightning.curricula.path.planning import Step, plan

Assess = Callable[[str, int], Assessed]  # what is known of a concept that was taught for so many epochs


class Walk:
    """Goes from concept to concept of a graph, as a gate opens.

    Args:
        graph: the knowledge graph.
        goals: the concepts that the path leads to.
        first: where it begins while nothing is mastered; None in a graph of prerequisites.
        prerequisites: whether the graph's edges are.
        gate: when a concept counts as mastered.
        patience: after so many epochs what comes right before a concept is reopened.

    Raises UserError where no path leads to a goal.
    """

    def __init__(
        self, graph: Any, goals: Sequence[str], first: str | None, prerequisites: bool, gate: Gate, patience: int
    ) -> None:
        self.graph, self.goals, self.first, self.prerequisites = graph, goals, first, prerequisites
        self.gate, self.patience = gate, patience
        self.mastered: dict[str, None] = {}  # in the order in which they were: a set that keeps it
        self.skipped: list[str] = []  # of these, what counts as mastered before anything was taught
        self.steps: list[Step] = self._planned()
        self.tried = 0  # epochs that the first of the steps was taught
        self.decisions: list[str] = []

    @property
    def current(self) -> str | None:
        """The concept to teach; None where all goals are mastered."""
        return self.steps[0].concept if self.steps else None

    def _planned(self) -> list[Step]:
        return plan(self.graph, self.mastered, self.goals, self.first, self.prerequisites, self.skipped)

    def begin(self, skipped: Iterable[str], reason: str) -> None:
        """Skip what counts as mastered before anything was taught, for a reason that is told where there is any."""
        self.skipped = [*skipped]
        self.mastered = dict.fromkeys(self.skipped)
        if self.skipped:
            self.decisions.append(f"{some(self.skipped)} counts as mastered: {reason}")
        self._plan_anew()

    def _plan_anew(self) -> None:
        self.steps = self._planned()
        if self.steps:
            path = " → ".join(step.concept for step in self.steps[:10]) + (" → …" if len(self.steps) > 10 else "")
            self.decisions.append(f"path: {path}")

    def judge(self, assess: Assess) -> None:
        """Decide by an assessment what is taught next."""
        if self.current is None:
            return
        taught = assess(self.current, self.tried)
        told = f"{self.current}: {self.gate.told(taught)}"
        if self.gate.opens(taught):
            self._open_next(told, assess)
        elif self.tried < self.patience:
            self.decisions.append(f"{told}; it is taught again")
        else:
            self._reopen(told)

    def _open_next(self, told: str, assess: Assess) -> None:
        """Take the current concept, and whatever else is mastered by now, as mastered, and plan from there."""
        assert self.current is not None
        before = [step.concept for step in self.steps[1:]]
        self.mastered[self.current] = None
        others = [node for node in self.graph if node in before and self.gate.opens(assess(node, 0))]
        self.mastered |= dict.fromkeys(others)
        self.tried, self.steps = 0, self._planned()
        also = f", as are {some(others)}" if others else ""
        after = f"{self.current} is opened" if self.steps else "all goals are mastered"
        self.decisions.append(f"{told}; it is mastered{also}, {after}")
        if [step.concept for step in self.steps] != before and self.steps:
            self.decisions.append(f"path: {' → '.join(step.concept for step in self.steps[:10])}")

    def _reopen(self, told: str) -> None:
        """Teach what comes right before the current concept once more, and plan the path anew."""
        [step, *_] = self.steps
        reopened = [one for one in step.after if one in self.mastered and one not in self.skipped]
        self.tried = 0
        if not reopened:
            self.decisions.append(f"{told} after {self.patience} epochs; nothing comes before it, it is taught again")
            return
        self.mastered = {name: None for name in self.mastered if name not in reopened}
        self.decisions.append(f"{told} after {self.patience} epochs; {some(reopened)} is reopened")
        self._plan_anew()
        first = [one for one in reopened if one not in [step.concept for step in self.steps]]
        self.steps = [*(Step(one) for one in first), *self.steps]

    def state_dict(self) -> dict[str, Any]:
        return {
            "mastered": [*self.mastered],
            "skipped": [*self.skipped],
            "steps": [[step.concept, [*step.after]] for step in self.steps],
            "tried": self.tried,
            "decisions": [*self.decisions],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mastered, self.skipped = dict.fromkeys(state["mastered"]), [*state["skipped"]]
        self.steps = [Step(concept, tuple(after)) for concept, after in state["steps"]]
        self.tried, self.decisions = state["tried"], [*state["decisions"]]
