"""Which taps of a network a training reads: those that are named, and those that are found."""

from collections.abc import Iterable, Mapping

from torch import nn

from kd_lightning.batch import Input
from kd_lightning.errors import UserError
from kd_lightning.signals import taps_of_source
from kd_lightning.taps.address import check_taps
from kd_lightning.taps.finding.finding import FOUND, taps_in, traced
from kd_lightning.taps.finding.inner import inner_taps_in
from kd_lightning.taps.reader import taps_of


def resolve_taps(
    role: str,
    network: nn.Module,
    taps: Mapping[str, str] | str,
    names: Iterable[str],
    example_input: Input | None,
    num_classes: int | None = None,
    key: str | None = None,
) -> dict[str, str]:
    """Names and addresses of a network's taps; found with `example_input` only where a term takes more than logits.

    `key` is where the taps are given, for messages; `ROLE_taps` where it is None.
    Raises UserError for what is neither, and where nothing shows the shapes.
    """
    key = key or f"{role}_taps"
    if taps != "auto" and not isinstance(taps, Mapping):
        raise UserError(f"{key}={taps}: give auto, or a mapping such as {{'stage3': 'layer3.2'}}")
    taken, given = taps_of_source(role, names), {} if isinstance(taps, str) else dict(taps)
    with taps_of(role):
        check_taps(network, given)
    if taken <= {"logits", *given} or (given and example_input is None):
        return {"logits": "", **given}
    if example_input is None:
        raise UserError(
            f"{key}=auto: to find {', '.join(sorted(taken - {'logits'}))}, give DistillationModule an "
            "example_input, or name the taps' modules"
        )
    with taps_of(role):
        found = find_all(network, example_input, taken - set(given), given.get("logits", ""), num_classes)
    return {**found, **given}


def find_all(
    network: nn.Module, example: Input, taken: set[str] | None, logits: str = "", num_classes: int | None = None
) -> dict[str, str]:
    """The taps that `auto` finds; those inside the stages only where one of them is taken, or all are (None)."""
    takes_inner = taken is None or not all(FOUND.fullmatch(tap) for tap in taken)
    trace = traced(network, example, logits, num_classes)
    return {**taps_in(trace, network, logits), **(inner_taps_in(trace, network) if takes_inner else {})}
