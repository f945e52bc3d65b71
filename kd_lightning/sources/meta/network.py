"""A network that learns to teach: a step of its own before each step of its student's."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.batch import INPUT, with_input
from kd_lightning.errors import UserError
from kd_lightning.ranks import mean_of_ranks
from kd_lightning.schedules.progress import Number, Progress
from kd_lightning.sources.learner import learner_named
from kd_lightning.sources.meta.gradient import meta_gradient
from kd_lightning.sources.network import TappedNetwork
from kd_lightning.sources.source import Source, Step, UntrainedSource

QUIZ = "quiz"


class MetaNetwork(TappedNetwork, UntrainedSource):
    """One network, which learns from how its student does in a quiz, as MetaDistil has it.

    Before each of the student's steps a pilot step is tried, θ' = θ - λ·∇_θ L(θ, φ), φ takes a step down the gradient
    of the loss that θ' has on a batch of the quiz, and the student then learns from the changed φ: Zhou, Xu, McAuley
    2022, arXiv:2106.04570. The pilot is plain gradient descent, and neither it nor the quiz leaves anything in the
    student. As in the authors' code (JetRunner/MetaDistil) the network stays in eval mode, and only its weights change.
    Where its rate is 0, nothing of this is computed but in the first step. Weights and momentum are in checkpoints.

    The training data have two streams, that of the quiz by its name, `{"taught": loader, "quiz": loader}`.

    Args:
        network: any module.
        taps: as of `FrozenNetwork`; so are `name` and `num_classes`.
        lr: of its steps, a number or a schedule; `momentum` and `weight_decay` as of torch's SGD.
        pilot_lr: λ, a number or a schedule; None: the student's rate at the moment.
        loss: of the quiz, takes logits and target.
        quiz: the name of its stream.
        of: the student's name; None where there is one learner alone.

    Raises UserError where no stream has the quiz, and where the choice of the student is open.

    Examples:
        >>> import lightning, torch
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from kd_lightning import DistillationModule, Term
        >>> from kd_lightning.losses import CrossEntropy, SoftTarget
        >>> from kd_lightning.sources import MetaNetwork
        >>> kd = Term(SoftTarget(temperature=4), ["student.logits", "teacher.logits"])
        >>> teacher = MetaNetwork(torch.nn.Linear(16, 3), loss=CrossEntropy(), lr=0.05)
        >>> before = teacher.network.weight.clone()
        >>> module = DistillationModule(student=torch.nn.Linear(16, 3), teacher=teacher, terms={"kd": kd})
        >>> loader = DataLoader(TensorDataset(torch.rand(64, 16), torch.arange(64) % 3), batch_size=32)
        >>> quiet = {"fast_dev_run": True, "enable_progress_bar": False, "enable_model_summary": False}
        >>> lightning.Trainer(**quiet).fit(module, {"taught": loader, "quiz": loader})
        >>> torch.equal(teacher.network.weight, before)
        False
    """

    def __init__(
        self,
        network: nn.Module,
        taps: Mapping[str, str] | None = None,
        name: str | None = None,
        *,
        loss: nn.Module,
        lr: Number = 0.05,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        pilot_lr: Number | None = None,
        quiz: str = QUIZ,
        of: str | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.name = name or type(network).__name__
        self.loss = loss
        self.lr, self.momentum, self.weight_decay, self.pilot_lr = lr, momentum, weight_decay, pilot_lr
        self.quiz, self.of = quiz, of
        self.velocity = nn.Module()  # of the weights in their order
        for place, weight in enumerate(network.parameters()):
            self.velocity.register_buffer(str(place), torch.zeros_like(weight))
        self._is_taught = False  # while the gradient by its weights is taken
        self.read_by(taps, num_classes)
        self.freeze()

    def begin(self, sources: Mapping[str, Source]) -> None:
        self.of = learner_named(self.of, sources, "of", "a teacher that learns from a quiz has one student")

    def forward(self, batch: Mapping[str, Any], input: str = INPUT, training: bool = False) -> dict[str, Tensor]:
        if self._is_taught:
            return self.answer(with_input(batch, input))
        return super().forward(batch, input, training)

    def answer(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        return self.reader(batch[INPUT])

    def before_step(self, step: Step) -> dict[str, Tensor]:
        """Its own step, of which the quiz's loss is told. Raises UserError where no stream has the quiz."""
        rate = number(self.lr, step.progress)
        if rate == 0 and step.progress.epoch > 0:  # the first step tries it, so that what fails fails there
            return {}
        quiz, learner = step.streams.get(self.quiz), self.of
        assert learner is not None
        if quiz is None or "target" not in quiz:
            raise UserError(
                f"quiz={self.quiz}: the teacher learns from a stream of the training data of this name, with targets; "
                f"there {'is one alone' if '' in step.streams else 'are ' + ', '.join(step.streams)}"
            )
        student = step.sources[learner]
        pilot = step.rates[learner] if self.pilot_lr is None else number(self.pilot_lr, step.progress)
        self._is_taught = True
        try:
            gradient, loss = meta_gradient(
                student,
                self.network,
                step.objectives[learner],
                lambda: step.minimised()[learner],
                lambda: self.loss(student(quiz, training=True)["logits"].float(), quiz["target"]),
                pilot,
            )
        finally:
            self._is_taught = False
        if rate > 0:
            self.descend(gradient, rate, step.skips)
        return dict(mean_of_ranks({"quiz": loss}, ["quiz"]))

    @torch.no_grad()
    def descend(self, gradient: list[Tensor], rate: float, skips: bool = False) -> None:
        """A step of stochastic gradient descent, as torch's has momentum and weight decay.

        With `skips` one whose gradient is not finite changes nothing; nothing waits for the device.
        """
        weights: list[Tensor] = [*self.network.parameters()]
        velocity = [*self.velocity.buffers()]
        change = torch._foreach_add(gradient, weights, alpha=self.weight_decay)
        moved: Sequence[Tensor] = torch._foreach_add(change, velocity, alpha=self.momentum)
        steps = [*moved]
        if skips:
            is_finite = torch.stack([one.isfinite().all() for one in gradient]).all()
            steps = [torch.where(is_finite, one, 0.0) for one in moved]
            moved = [torch.where(is_finite, own, old) for own, old in zip(moved, velocity, strict=True)]
        torch._foreach_sub_(weights, steps, alpha=rate)
        torch._foreach_copy_(velocity, [*moved])

    def identity(self) -> dict[str, Any]:
        return {"learns_to_teach": self.name, "of": self.of}


def number(value: Number, progress: Progress) -> float:
    """A number, or that of a schedule at the moment."""
    return value(progress) if callable(value) else value
