"""A teacher that gives each stage of a student what its own stage before it gives."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kd_lightning.batch import INPUT
from kd_lightning.errors import UserError
from kd_lightning.models.projectors import Connector
from kd_lightning.sources.learner import Learner
from kd_lightning.sources.source import Source
from kd_lightning.taps.address import Address, find_module, parse_address

Shape = tuple[int, ...]
Projector = Callable[[Shape, Shape], nn.Module]
INTO = {
    "": lambda value: value,
    "nhwc": lambda value: value.permute(0, 2, 3, 1),
}  # the module's own, from a tap's layout


class BlockwiseTeacher(Source):
    """A frozen teacher; in a training step, what leaves a stage of the student is replaced by what leaves its own.

    So each stage of the student learns by itself, from what the teacher's stage before it gives (Li et al. 2020,
    arXiv:1911.13053; Koratana et al. 2018, arXiv:1810.01937), in one pass through the student, which is altered in
    nothing: hooks stand behind its stages while it is trained. A term sees what the stage itself gave. Outside of
    training steps the student runs as a whole.

    Where two stages differ in shape, a projector P takes the teacher's to the student's, and the next stage gets P(t)
    without gradient: the signal `given_stageK`, which a term brings close to what the student's stage gives. There P
    learns, and is in checkpoints as the rest of this source is not.

    Args:
        source: the teacher.
        shapes: of the student's and the teacher's stages by tap, without the batch dimension, from input to output.
        projector: makes P from the shapes of the teacher's and the student's stage.

    Raises UserError for a student whose stage cannot be replaced, such as tokens that are read as a map.

    Examples:
        >>> import torch
        >>> from kd_lightning import DistillationModule, Term
        >>> from kd_lightning.losses import FitNet
        >>> from kd_lightning.sources import BlockwiseTeacher, FrozenNetwork
        >>> def network():
        ...     return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 3), torch.nn.Linear(3, 2))
        >>> taps = {"stage1": "0", "stage2": "1"}
        >>> teacher = BlockwiseTeacher(FrozenNetwork(network(), taps), {tap: ((3,), (3,)) for tap in taps})
        >>> terms = {tap: Term(FitNet(), [f"student.{tap}", f"teacher.{tap}"]) for tap in taps}
        >>> module = DistillationModule(network(), teacher, terms, student_taps=taps)
    """

    trained, changes = True, False

    def __init__(
        self, source: Source, shapes: Mapping[str, tuple[Shape, Shape]], projector: Projector = Connector
    ) -> None:
        super().__init__()
        self.source = source
        self.shapes = dict(shapes)
        different = {tap: pair for tap, pair in shapes.items() if pair[0] != pair[1]}
        self.projections = nn.ModuleDict(
            {tap: projector(teacher, student) for tap, (student, teacher) in different.items()}
        )
        self.signals = [*source.signals, *(given(tap) for tap in different)]
        self._learner: tuple[Learner, ...] = ()  # no part of this source
        self._handles: list[RemovableHandle] = []
        self._held: tuple[Any, str, dict[str, Tensor]] | None = None

    def begin(self, sources: Mapping[str, Source]) -> None:
        self._learner = tuple(one for one in sources.values() if isinstance(one, Learner))
        self.source.role = self.role
        self.source.begin(sources)

    def request(self, taps: Mapping[str, set[str]]) -> None:
        """Also stand behind the student's stages; what reads them was there before."""
        known = {*self.source.signals}
        self.source.request({input: (wanted & known) | {*self.shapes} for input, wanted in taps.items()})
        self.close()
        for learner in self._learner:
            self._handles = [learner.register_forward_pre_hook(_Hook(self._begin), with_kwargs=True)]
            for tap in self.shapes:
                self._handles.append(self._behind(learner, tap))

    def _behind(self, learner: Learner, tap: str) -> RemovableHandle:
        """Replace what a stage of the student gives. Raises UserError for one of another layout."""
        address = replaceable(f"{learner.role}_taps.{tap}", learner.taps[tap])
        module = find_module(learner.network, tap, address)
        if address.is_input:
            return module.register_forward_pre_hook(_Hook(lambda _, args: self._replaced(tap, address, args)))
        return module.register_forward_hook(_Hook(lambda _, args, output: self._replaced(tap, address, output)))

    def _begin(self, learner: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._held = None
        if options.get("training"):
            batch, input = args[0], args[1] if len(args) > 1 else options.get("input", INPUT)
            self._held = batch, input, self._answer(batch, input, training=True)

    def _replaced(self, tap: str, address: Address, value: Any) -> Any:
        """What goes on in the student behind a stage."""
        if self._held is None:
            return None
        answer = self._held[2]
        own = answer[given(tap)] if tap in self.projections else answer[tap]
        replacement = INTO[address.layout](own.detach().clone())  # which the student may alter in place
        if address.is_input:
            return (replacement, *value[1:])
        if not isinstance(value, Tensor):
            raise UserError(
                f"{self._learner[0].role}_taps.{tap}={address}: gives {type(value).__name__}, of which one tensor "
                "alone would be replaced; name a module that gives a tensor"
            )
        return replacement

    def _answer(self, batch: Mapping[str, Any], input: str, training: bool) -> dict[str, Tensor]:
        answer = self.source(batch, input, training=training)
        projected = {given(tap): project(answer[tap]) for tap, project in self.projections.items() if tap in answer}
        return {**answer, **projected}

    def forward(self, batch: Mapping[str, Any], input: str = INPUT, training: bool = False) -> dict[str, Tensor]:
        held, self._held = self._held, None
        if held is not None and held[0] is batch and held[1] == input:
            return held[2]  # which the student's pass asked for
        return self._answer(batch, input, training)

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._held = [], None
        self.source.close()

    def identity(self) -> dict[str, Any]:
        return {"blockwise": self.source.identity(), "shapes": [[tap, *pair] for tap, pair in self.shapes.items()]}


def given(tap: str) -> str:
    """What the student's next stage gets in place of a stage, where the two differ in shape."""
    return f"given_{tap}"


def replaceable(key: str, tap: str) -> Address:
    """The address of a stage whose map another network can give. Raises UserError for one that is read in parts."""
    address = parse_address(key, tap)
    if address.layout not in INTO or address.parameter:
        raise UserError(
            f"{key}={tap}: cannot be replaced by what another network gives, for it is read in parts; name a module "
            "that gives a map, or choose another student"
        )
    return address


class _Hook:
    """Calls a function; a copy of it, in a copied model, does nothing."""

    def __init__(self, act: Callable[..., Any] | None = None) -> None:
        self.act = act

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()

    def __call__(self, *args: Any) -> Any:
        return None if self.act is None else self.act(*args)
