"""The objective of each learner, from terms for all of them or by their names."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kd_lightning.batch import Input
from kd_lightning.errors import UserError
from kd_lightning.learners.names import Networks, of_each, peers_of
from kd_lightning.learners.over_members import over_members
from kd_lightning.learners.over_sources import OverPeers
from kd_lightning.learners.views import View
from kd_lightning.objective import Objective, ObjectiveValue, naming
from kd_lightning.ranks import processes
from kd_lightning.schedules.progress import Progress
from kd_lightning.signals import read
from kd_lightning.sources import Ensemble
from kd_lightning.sources.sharing import check_terms_apart


def objectives_of(terms: Mapping[str, Any], learners: Networks, others: Networks) -> dict[str, Objective]:
    """An objective for each learner, with losses of its own where these keep anything.

    Raises UserError for terms that hold a network, for those of no learner, and where a learner has none.
    """
    is_by_learner = any(isinstance(value, Mapping) for value in terms.values())
    for name, value in terms.items() if is_by_learner else ():
        if not isinstance(value, Mapping):
            raise UserError(
                f"terms.{name}={type(value).__name__}: stands among terms by learner; give it in each learner's, "
                f"as terms.{next(iter(learners.given))}.{name}"
            )
    names = list(learners.given)
    each = of_each("terms", terms, names) if is_by_learner else dict.fromkeys(names, terms)
    found: dict[str, Objective] = {}
    taken: set[int] = set()  # losses that another learner has; one may keep something, such as a running mean
    for learner, own in each.items():
        key = f"terms.{learner}" if is_by_learner else "terms"
        check_terms_apart(own, learners.given, others.given, key)
        own = {name: copy.deepcopy(term) if id(term.loss) in taken else term for name, term in own.items()}
        taken |= {id(term.loss) for term in own.values()}
        for name, source in others.given.items():
            if isinstance(source, Ensemble):
                members, combined = [*source.members], {"combine": source.combine, "tolerance": source.tolerance}
                own = over_members(own, name, members, **combined)
        peers = list(peers_of(learner, learners.key, names))
        found[learner] = Objective({name: OverPeers.around(term, peers) for name, term in own.items()}, key)
    return found


def introduce_peers(objectives: Mapping[str, Objective], views: Mapping[str, View]) -> None:
    """Tell the losses over all peers at once, by `see_peers`, whose signals stand in their list.

    Of each the peer's loss in the term of the same name; None where there is none, as of a teacher.
    """
    for learner, objective in objectives.items():
        for name, term in objective.items():
            see = getattr(term.loss, "see_peers", None)
            listed = [signal for each in term.signals if isinstance(each, list) for signal in map(read, each)]
            if see is None:
                continue
            peers = []
            for source in (signal.source for signal in listed if signal is not None):
                other = objectives.get(views[learner].peers.get(source, ""))
                peers.append(None if other is None else getattr(dict(other.items()).get(name), "loss", None))
            with naming(f"{objective.key}.{name}"):
                see(peers)


def example_for(example_input: Input | None) -> Input:
    """The example from which parts of terms are built. Raises UserError where there is none."""
    if example_input is None:
        raise UserError(
            "example_input=None: a term has a projector, or a loss to be built; give a batch of inputs to see the "
            "shapes"
        )
    return example_input


def synchronized_buffers(objectives: Mapping[str, Objective]) -> dict[str, Tensor]:
    """Those of all objectives, by their names in one, or in a `ModuleDict` of several."""
    several = len(objectives) > 1
    each = {f"{name}." if several else "": one.synchronized_buffers() for name, one in objectives.items()}
    return {f"{prefix}{name}": buffer for prefix, buffers in each.items() for name, buffer in buffers.items()}


def begin_equal(objectives: Mapping[str, Objective]) -> None:
    """Have what losses keep equal on all ranks by themselves begin equal."""
    if processes() > 1:
        for buffer in synchronized_buffers(objectives).values():
            torch.distributed.broadcast(buffer, src=0)


def total_of(values: Mapping[str, ObjectiveValue]) -> Tensor:
    """The sum of what all learners minimise, whose gradient is each one's own."""
    first, *others = (value.total for value in values.values())
    return first if not others else torch.stack([first, *others]).sum()


class Shown(NamedTuple):
    """What a step shows of its objectives, by name: values, all names that a rank may have, and those of the bar."""

    values: dict[str, Tensor]
    names: list[str]
    bar: list[str]
    changing: dict[str, Tensor]


def shown(
    values: Mapping[str, ObjectiveValue], objectives: Mapping[str, Objective], progress: Mapping[str, Progress]
) -> Shown:
    """The terms and the total of one learner; of several those of each behind its name, and `loss` of all."""
    found = Shown({}, [], [], {})
    several = len(values) > 1
    if several:
        found.values["loss"] = total_of(values)
        found.names.append("loss")
        found.bar.append("loss")
    for learner, value in values.items():
        of = f"{learner}/" if several else ""
        terms = [name for name, _ in objectives[learner].items()]
        weighted = {f"{name}_weighted": entry for name, entry in value.weighted.items()}
        own = {"loss": value.total, **value.raw, **weighted}
        found.values.update({f"{of}{name}": entry for name, entry in own.items()})
        found.bar.extend(f"{of}{name}" for name in ("loss", *terms))
        found.names.extend(f"{of}{name}" for name in ("loss", *terms, *(f"{name}_weighted" for name in terms)))
        changing = objectives[learner].changing(progress[learner])
        found.changing.update({f"{of}{name}": entry for name, entry in changing.items()})
    return found
