"""A term over the members of an ensemble: its value with each of them, weighed."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.learners.over_sources import OverSources, with_all
from kd_lightning.losses.functional import confidence_weights, entropy_weights, min_norm_weights
from kd_lightning.losses.per_sample import has_values
from kd_lightning.losses.sample_weights import SampleWeight, Signals, full_precision, signals_of
from kd_lightning.schedules.progress import Progress
from kd_lightning.signals import Signal, read
from kd_lightning.sources.ensemble import OF_TERMS
from kd_lightning.term import Evaluated, Term

WEIGHT = "members.weight"  # of the member at hand, in each sample (B,)


class OverMembers(OverSources):
    """A term's values with each member of an ensemble, of which each weighs something: Σ_k mean_i w_ki·l_ki.

    `entropy` and `confidence` weigh each sample, see `losses.functional.entropy_weights` and `confidence_weights`;
    `gradient` each batch, see `min_norm_weights`: the gradients are those at the student's signals that the term takes,
    as means over the batch of the rank. No gradient goes through a weight.

    Args:
        term: takes signals of the ensemble without a member's name, such as `teacher.logits`.
        ensemble: what terms call it.
        members: their names.
        combine: entropy, confidence or gradient.
        tolerance: of `gradient`, the largest weight of one member.

    Examples:
        >>> import torch
        >>> from kd_lightning import Term
        >>> from kd_lightning.learners.over_members import OverMembers
        >>> from kd_lightning.losses import SoftTarget
        >>> term = Term(SoftTarget(), ["student.logits", "teacher.logits"])
        >>> over = OverMembers(term, "teacher", ["0", "1"], "confidence")
        >>> logits = {f"teacher.{member}.logits": torch.randn(4, 10) for member in ("0", "1")}
        >>> over({"student.logits": torch.randn(4, 10), "target": torch.arange(4), **logits}).shape
        torch.Size([])
    """

    def __init__(self, term: Term, ensemble: str, members: Sequence[str], combine: str, tolerance: float = 0.6) -> None:
        nn.Module.__init__(self)
        vars(self).update(stands_for=ensemble, combine=combine, tolerance=tolerance)
        self._take({member: self._with_source(term.unbuilt(), member) for member in members})

    combine: str
    tolerance: float

    def _take(self, terms: Mapping[str, Term]) -> None:
        super()._take(terms)
        weight = self.sample_weight
        vars(self).update(sample_weight=weight.given if isinstance(weight, WeightOfMember) else weight)

    def check_sample_weight(self) -> None:
        for term in self.terms().values():
            weight = term.sample_weight
            if isinstance(weight, WeightOfMember) and has_values(term.loss) is False:
                raise UserError(
                    f"{self.stands_for}.combine={self.combine}: weighs each sample, and {type(term.loss).__name__} "
                    f"compares the samples of a batch; take mean_logits or gradient, or in this term one member's "
                    f"signals, such as {self.stands_for}.{weight.member}.logits"
                )
        super().check_sample_weight()

    def evaluate(self, signals: Signals, progress: Progress, counts: bool = False) -> Evaluated:
        each = self.terms()
        seen = {member: self._seen_with(signals, member) for member in each}
        if self.combine != "gradient":
            weights = self.weights_of_samples(signals)
            seen = {name: {**own, WEIGHT: one} for (name, own), one in zip(seen.items(), weights, strict=True)}
        found = [term.evaluate(seen[member], progress, counts) for member, term in each.items()]
        values = torch.stack([one.value for one in found])
        if self.combine == "gradient":
            values = self.weights_of_batch(values, signals) * values
        return Evaluated(values.sum(), found[0].samples)

    @torch.no_grad()
    def weights_of_samples(self, signals: Signals) -> Tensor:
        """What each member weighs in each sample, (K, B)."""
        name = next(iter(self.terms().values())).sample_weight
        assert isinstance(name, WeightOfMember)
        each = [full_precision(signals[self.signal(member, name.input)]) for member in self.terms()]
        logits = torch.stack(each)
        return entropy_weights(logits) if self.combine == "entropy" else confidence_weights(logits, signals["target"])

    def weights_of_batch(self, values: Tensor, signals: Signals) -> Tensor:
        """What each member weighs in the batch, (K,), by the gradients of its value; without gradients all alike."""
        names = dict.fromkeys(name for term in self.terms().values() for name in term.names())
        learned = [signals[name] for name in names if name in signals and signals[name].requires_grad]
        if not learned or not values.requires_grad:
            return torch.full_like(values, 1 / len(values))
        gradients = []
        for value in values:
            # Times the samples, for half precision; what all are times is of no account.
            scaled = value * len(learned[0])
            found = torch.autograd.grad(scaled, learned, retain_graph=True, allow_unused=True, materialize_grads=True)
            gradients.append(torch.cat([full_precision(one).mean(dim=0).flatten() for one in found]))
        return min_norm_weights(torch.stack(gradients), self.tolerance)

    def signal(self, member: str, input: str) -> str:
        return str(Signal(self.stands_for, f"{member}.logits", input))

    def as_typed(self, signal: str) -> str:
        found = read(signal)
        member, _, tap = ("", "", "") if found is None else found.tap.partition(".")
        is_own = found is not None and found.source == self.stands_for and member in self.each
        return str(found._replace(tap=tap)) if found is not None and is_own else signal

    def _with_source(self, term: Term, source: str) -> Term:  # type: ignore[override]
        own = {name: signal for name in term.names() if (signal := read(name)) is not None and self.is_of_all(name)}
        term.expand({name: str(signal._replace(tap=f"{source}.{signal.tap}")) for name, signal in own.items()})
        if self.combine != "gradient" and not isinstance(term.sample_weight, WeightOfMember):
            input = next(iter(own.values())).input
            takes = [self.signal(source, input), *(["target"] if self.combine == "confidence" else [])]
            term.sample_weight = WeightOfMember(source, input, takes, term.sample_weight)
        return term

    def _seen_with(self, signals: Signals, source: str) -> Signals:  # type: ignore[override]
        own = {name: read(name) for name in signals}
        of_member = {
            str(signal._replace(tap=signal.tap.removeprefix(f"{source}."))): signals[name]
            for name, signal in own.items()
            if signal is not None and signal.source == self.stands_for and signal.tap.startswith(f"{source}.")
        }
        return {**signals, **of_member}

    def is_of_all(self, name: str) -> bool:
        return is_of_ensemble(name, self.stands_for)


class WeightOfMember(nn.Module):
    """What a member weighs in each sample, times what the sample counts by itself."""

    def __init__(self, member: str, input: str, takes: list[str], given: SampleWeight | None) -> None:
        super().__init__()
        self.member, self.input, self.takes = member, input, takes
        self.given = given  # a part of it, where that is a module

    @property
    def signals(self) -> list[str]:
        return [*self.takes, *signals_of(self.given)]

    def forward(self, signals: Mapping[str, Tensor]) -> Tensor:
        weight = signals[WEIGHT]
        if self.given is None:
            return weight
        return weight * (signals[self.given] if isinstance(self.given, str) else self.given(signals))


def is_of_ensemble(name: str, ensemble: str) -> bool:
    """Whether a signal is one of an ensemble, and of no member by its name."""
    signal = read(name)
    return signal is not None and signal.source == ensemble and "." not in signal.tap


def over_members(terms: Mapping[str, Term], ensemble: str, members: Sequence[str], **combined: Any) -> dict[str, Term]:
    """Terms as they are, or over the members of an ensemble where these weigh in them.

    A loss that says `all_at_once` takes a list of all members' signals for one of the ensemble's.
    """
    found: dict[str, Term] = {}
    for name, term in terms.items():
        if not any(is_of_ensemble(one, ensemble) for one in term.names()):
            found[name] = term
        elif getattr(term.loss, "all_at_once", False):
            found[name] = with_all(term, partial(of_all, ensemble, members), takes_lists_apart=False)
        else:
            is_over = combined.get("combine") in OF_TERMS
            found[name] = OverMembers(term, ensemble, members, **combined) if is_over else term
    return found


def of_all(ensemble: str, members: Sequence[str], signal: Signal) -> list[Signal] | None:
    """All members' signals for one of the ensemble's."""
    if not is_of_ensemble(str(signal), ensemble):
        return None
    return [signal._replace(tap=f"{member}.{signal.tap}") for member in members]
