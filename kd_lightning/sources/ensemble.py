"""Several sources as one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.batch import Batch
from kd_lightning.errors import UserError, did_you_mean
from kd_lightning.losses.arguments import check_positive
from kd_lightning.losses.functional import mean_probabilities
from kd_lightning.losses.functional.teachers.weights import MOST_TEACHERS
from kd_lightning.sources.frozen import FrozenNetwork
from kd_lightning.sources.source import FrozenSource, Source

OF_ANSWERS = ("mean_logits", "mean_probabilities")  # combined as one answer, besides fixed weights
OF_TERMS = ("entropy", "confidence", "gradient")  # by what members weigh in each term that takes the ensemble

Combination = str | Sequence[float]


class Ensemble(FrozenSource):
    """Several networks as one: the mean of their logits, (1/K)·Σ_k z_k, or another combination; each one's by its name.

    A member may be cached: a batch brings what each of them knows.

    Args:
        members: frozen sources or networks, by name or in a list, whose names are 0, 1, …: `teacher.0.stage1` is the
            first one's tap.
        combine: `mean_logits`; `mean_probabilities`, the logits of (1/K)·Σ_k softmax(z_k), see
            `losses.functional.mean_probabilities`; or numbers w_k, for Σ_k w_k·z_k / Σ_k w_k. With `entropy`,
            `confidence` or `gradient` a term that takes the ensemble's `logits`, or any tap without a member's name, is
            the weighted sum of its values with each member; see `learners.over_members.OverMembers`. The logits of the
            ensemble itself, by which it is measured, are then their mean: a label decides the weights, or the student.
        tolerance: of `gradient`, the largest weight of one member.

    Raises UserError for no members, for a bad name, for one that is there twice or changes, and for no combination.

    Examples:
        >>> import torch
        >>> from kd_lightning.sources import Ensemble
        >>> one, other = torch.nn.Linear(16, 10), torch.nn.Linear(16, 10)
        >>> inputs = torch.rand(2, 16)
        >>> answers = Ensemble([one, other])({"input": inputs})
        >>> torch.testing.assert_close(answers["logits"], (one(inputs) + other(inputs)).detach() / 2)
    """

    def __init__(
        self,
        members: Mapping[str, nn.Module] | Sequence[nn.Module],
        combine: Combination = "mean_logits",
        tolerance: float = 0.6,
    ) -> None:
        super().__init__()
        named = dict(members) if isinstance(members, Mapping) else {str(n): one for n, one in enumerate(members)}
        if not named:
            raise UserError("members=[]: an ensemble has at least one; give networks or sources")
        check_combination(combine, tolerance, len(named))
        self.combine, self.tolerance = combine, tolerance
        given = list(named.items())
        for place, (name, one) in enumerate(given):
            is_name = isinstance(name, str) and f"_{name}".isidentifier() and not hasattr(nn.ModuleDict, name)
            if not is_name:
                raise UserError(f"members.{name}: cannot be a member's name; use letters, digits, _")
            twin = next((other for other, before in given[:place] if network_in(before) is network_in(one)), None)
            if twin is not None:
                raise UserError(f"members.{name}={type(one).__name__}: is members.{twin} itself; give another one")
            if isinstance(one, Source) and not isinstance(one, FrozenSource):
                raise UserError(f"members.{name}={type(one).__name__}: changes as it trains; give a frozen source")
        sources = {name: one if isinstance(one, FrozenSource) else FrozenNetwork(one) for name, one in named.items()}
        self.members = nn.ModuleDict(sources)
        self.signals = ["logits", *(f"{name}.{tap}" for name, one in sources.items() for tap in one.signals)]
        self.freeze()

    def sources(self) -> dict[str, FrozenSource]:
        return {name: one for name, one in self.members.items() if isinstance(one, FrozenSource)}

    def begin(self, sources: Mapping[str, Source]) -> None:
        for member in self.sources().values():
            member.role = self.role
            member.begin(sources)

    def request(self, taps: Mapping[str, set[str]]) -> None:
        for name, member in self.sources().items():
            own = {
                input: {"logits"} | {tap.removeprefix(f"{name}.") for tap in wanted if tap.startswith(f"{name}.")}
                for input, wanted in taps.items()
            }
            member.request(own)

    def before_transfer(self, batch: Batch) -> Batch:
        for member in self.sources().values():
            batch = member.before_transfer(batch)
        return batch

    def close(self) -> None:
        for member in self.sources().values():
            member.close()

    def compile(self, *args: Any, **kwargs: Any) -> None:
        for member in self.sources().values():
            member.compile(*args, **kwargs)

    def answer(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        each = {name: member(batch) for name, member in self.sources().items()}
        logits = [answers["logits"] for answers in each.values()]
        shapes = {tuple(one.shape) for one in logits}
        if len(shapes) > 1:
            raise UserError(f"members: give logits of {' and '.join(map(str, shapes))}; take networks of equal classes")
        named = {f"{name}.{tap}": value for name, answers in each.items() for tap, value in answers.items()}
        return {"logits": self.combined(logits), **named}

    def combined(self, logits: Sequence[Tensor]) -> Tensor:
        """The logits of all members (B, C) as one."""
        if self.combine == "mean_probabilities":
            return mean_probabilities(torch.stack(list(logits)))
        if isinstance(self.combine, str):
            return torch.stack(list(logits)).mean(dim=0)
        total = sum(self.combine)
        return torch.stack([weight / total * one for weight, one in zip(self.combine, logits, strict=True)]).sum(dim=0)

    @property
    def weighs_terms(self) -> bool:
        """Whether members weigh in terms, and not in one answer of theirs."""
        return self.combine in OF_TERMS

    def identity(self) -> dict[str, Any]:
        members = {name: member.identity() for name, member in self.sources().items()}
        return {"members": members, **combined_by(self.combine, self.tolerance)}


def network_in(member: nn.Module) -> nn.Module:
    """The network that answers, which several sources may stand in front of."""
    return member.network if isinstance(member, FrozenNetwork) else member


def combined_by(combine: Combination, tolerance: float) -> dict[str, Any]:
    """A combination as plain values, where it is not the mean of the logits."""
    if combine == "mean_logits":
        return {}
    given = combine if isinstance(combine, str) else [*combine]
    return {"combine": given, **({"tolerance": tolerance} if combine == "gradient" else {})}


def check_combination(combine: Any, tolerance: Any, members: int) -> None:
    """Raise `UserError` for what is no combination of so many members."""
    if isinstance(combine, str):
        names = (*OF_ANSWERS, *OF_TERMS)
        if combine not in names:
            hint = did_you_mean(combine, names)
            raise UserError(f"combine={combine}: {hint}must be one of {', '.join(names)}, or a number for each member")
    else:
        numbers = list(combine) if isinstance(combine, Sequence) else []
        sound = all(isinstance(one, (int, float)) and not isinstance(one, bool) and one >= 0 for one in numbers)
        if len(numbers) != members or not sound or not 0 < sum(numbers) < math.inf:
            raise UserError(
                f"combine={combine}: there are {members} members; give as many numbers of at least 0, not all of them "
                "0, or a name such as mean_logits"
            )
    check_positive(tolerance=tolerance)
    if combine == "gradient" and members > MOST_TEACHERS:
        raise UserError(
            f"combine=gradient: for {MOST_TEACHERS} members at most, and there are {members}; use confidence"
        )
