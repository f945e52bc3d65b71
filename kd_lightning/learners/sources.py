"""The sources of a training: made from the networks that it is given, trained, followed, told apart."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any

from torch import nn

from kd_lightning.batch import Input
from kd_lightning.errors import UserError
from kd_lightning.learners.names import Networks, taps_of_each
from kd_lightning.objective import Objective
from kd_lightning.schedules.progress import Progress
from kd_lightning.signals import requested
from kd_lightning.sources import Source
from kd_lightning.taps.resolving import resolve_taps

Taps = Mapping[str, str] | str


def sources_of(
    networks: Networks,
    taps: Taps | Mapping[str, Taps],
    kind: Callable[..., Source],
    names: Iterable[str],
    example_input: Input | None,
    width: int | None,
) -> dict[str, Source]:
    """Sources as they are given, or of a kind around networks, with the taps that the terms' `names` take.

    `taps` are those of all networks or of each by name; `width` tells the logits among several outputs. Raises
    UserError for taps of a source, and for those that are not there.
    """
    taken, each = list(names), taps_of_each(f"{networks.key}_taps", taps, list(networks.given))
    found: dict[str, Source] = {}
    for name, given in networks.given.items():
        key = networks.key_of(name, "_taps")
        if isinstance(given, Source):
            if each[name] != "auto":
                raise UserError(f"{key}={each[name]}: a {type(given).__name__} has its own signals; leave them out")
            found[name] = given
        else:
            addresses = resolve_taps(name, given, each[name], taken, example_input, width, key)
            found[name] = kind(given, addresses, num_classes=width)
    return found


def trained_parameters(
    sources: Mapping[str, Source], objectives: Mapping[str, Objective], names: Mapping[str, Iterable[str]]
) -> dict[str, list[nn.Parameter]]:
    """What each learner trains: itself, unless no term of its own asks it, and what its losses and projectors have.

    `names` are the signals that a learner's terms take. A source that learns and is no learner is trained by the first.
    """
    found = {}
    first = next(iter(objectives))
    for learner, objective in objectives.items():
        taken = list(names[learner])
        own = [name for name in sources if name == learner or (name not in objectives and learner == first)]
        asked = [sources[name] for name in own if sources[name].trained and requested(name, taken)]
        found[learner] = [p for part in (*asked, objective) for p in part.parameters() if p.requires_grad]
    return found


def follow_step(
    sources: Mapping[str, Source], learners: Sequence[str], left_out: Set[str], progress: Callable[[], Progress]
) -> None:
    """Have the sources follow an optimizer step, but for those of a learner that was left out of it."""
    if left_out >= {*learners}:
        return
    for source in sources.values():
        if type(source).after_step is not Source.after_step and getattr(source, "of", None) not in left_out:
            source.after_step(sources, progress())


def identities(sources: Mapping[str, Source]) -> dict[str, Any]:
    """What the sources are that no gradient changes."""
    return {name: source.identity() for name, source in sources.items() if not source.trained}


def check_identities(sources: Mapping[str, Source], stored: Mapping[str, Any]) -> None:
    """Raise UserError for a source that is not the one that a checkpoint tells of."""
    for name, own in identities(sources).items():
        if stored.get(name, own) != own:
            raise UserError(f"{name}={own}: the checkpoint was trained with another {name}, {stored[name]}")
