"""Several sources as one."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.batch import Batch
from kd_lightning.errors import UserError
from kd_lightning.sources.frozen import FrozenNetwork
from kd_lightning.sources.source import FrozenSource, Source


class Ensemble(FrozenSource):
    """The plain mean of its members' logits, (1/K)·Σ_k z_k, and each member's signals by its name.

    A member may be cached: a batch brings what each of them knows.

    Args:
        members: frozen sources or networks, by name or in a list, whose names are 0, 1, …: `teacher.0.stage1` is the
            first one's tap.

    Raises UserError for no members, for one that is there twice, and for one that changes.

    Examples:
        >>> import torch
        >>> from kd_lightning.sources import Ensemble
        >>> one, other = torch.nn.Linear(16, 10), torch.nn.Linear(16, 10)
        >>> inputs = torch.rand(2, 16)
        >>> answers = Ensemble([one, other])({"input": inputs})
        >>> torch.testing.assert_close(answers["logits"], (one(inputs) + other(inputs)).detach() / 2)
    """

    def __init__(self, members: Mapping[str, nn.Module] | Sequence[nn.Module]) -> None:
        super().__init__()
        named = dict(members) if isinstance(members, Mapping) else {str(n): one for n, one in enumerate(members)}
        if not named:
            raise UserError("members=[]: an ensemble has at least one; give networks or sources")
        given = list(named.items())
        for place, (name, one) in enumerate(given):
            twin = next((other for other, before in given[:place] if before is one), None)
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
        return {"logits": torch.stack(logits).mean(dim=0), **named}

    def identity(self) -> dict[str, Any]:
        return {"members": {name: member.identity() for name, member in self.sources().items()}}
