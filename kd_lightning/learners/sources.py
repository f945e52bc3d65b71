"""The sources of a training from the networks that it is given."""

from collections.abc import Callable, Iterable, Mapping

from kd_lightning.batch import Input
from kd_lightning.errors import UserError
from kd_lightning.learners.names import Networks, taps_of_each
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
