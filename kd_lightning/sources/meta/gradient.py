"""How a teacher changes what its student becomes by one step: a derivative of second order, over all ranks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from kd_lightning.errors import UserError
from kd_lightning.ranks import mean_tensors_of_ranks

STUDENT, TEACHER, OTHERS = "learner", "source", "objective"


def meta_gradient(
    student: nn.Module,
    teacher: nn.Module,
    objective: nn.Module,
    minimised: Callable[[], Tensor],
    examined: Callable[[], Tensor],
    rate: float,
) -> tuple[list[Tensor], Tensor]:
    """The gradient by the teacher's weights φ of what the student does in a quiz behind a pilot step, and that loss.

    The pilot is θ' = θ - λ·∇_θ L(θ, φ), and with v = ∇_θ' Q(θ') the gradient dQ/dφ = -λ·∂/∂φ ⟨∇_θ L(θ, φ), v⟩: the
    same as through the pilot, and the quiz keeps no graph of it. Over ranks each of ∇_θ L, v and dQ/dφ is the mean, as
    DistributedDataParallel would take it. Networks and objective are as they were afterwards, their statistics too.

    Args:
        student: its weights that require gradients are θ.
        teacher: its weights are φ, whether they require gradients or not.
        objective: whose buffers may change while `minimised` computes.
        minimised: L, (), of the modules above as they are when it is called.
        examined: Q, (), of the student as it is when it is called.
        rate: λ.

    Zhou, Xu, McAuley 2022, arXiv:2106.04570. Returns a tensor for each of the teacher's weights in their order, and Q.
    Raises UserError where L does not depend on the teacher.

    Examples:
        >>> import torch
        >>> from kd_lightning.sources.meta.gradient import meta_gradient
        >>> student, teacher = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
        >>> _ = student.weight.data.fill_(1.0), teacher.weight.data.fill_(3.0)
        >>> x = torch.ones(1, 1)  # L = (θ - φ)², θ' = 1 + 2·λ·(3 - 1), Q = θ', dQ/dφ = 2·λ
        >>> match = lambda: (student(x) - teacher(x)).square().sum()
        >>> meta_gradient(student, teacher, torch.nn.Identity(), match, lambda: student(x).sum(), rate=0.25)
        ([tensor([[0.5000]])], tensor(2.))
    """
    parts = Parts(student, teacher, objective)
    weights, of_teacher = parts.weights(STUDENT, required=True), parts.weights(TEACHER)
    with exact_attention():
        total = functional_call(parts, {**weights, **of_teacher, **parts.statistics()}, (minimised,))
        step = torch.autograd.grad(total, [*weights.values()], create_graph=True, materialize_grads=True)
        mean = mean_tensors_of_ranks([one.detach() for one in step])
        pilot = {
            name: (weight.detach() - rate * own).requires_grad_()
            for (name, weight), own in zip(weights.items(), mean, strict=True)
        }
        quiz = functional_call(parts, {**pilot, **parts.statistics()}, (examined,))
        along = mean_tensors_of_ranks(
            torch.autograd.grad(quiz, [*pilot.values()], allow_unused=True, materialize_grads=True)
        )
        products = [(own * other).sum() for own, other in zip(step, along, strict=True) if own.requires_grad]
        inputs = [*of_teacher.values()]
        taught: Sequence[Tensor | None] = [None] * len(inputs)
        if products:
            taught = torch.autograd.grad(-rate * torch.stack(products).sum(), inputs, allow_unused=True)
    if all(one is None for one in taught):
        raise UserError("no term that is minimised depends on the teacher's weights; let one take its logits, as kd")
    found = [torch.zeros_like(weight) if one is None else one for one, weight in zip(taught, inputs, strict=True)]
    return mean_tensors_of_ranks(found), quiz.detach()


class Parts(nn.Module):
    """The modules whose weights are exchanged while a function computes with them."""

    def __init__(self, student: nn.Module, teacher: nn.Module, objective: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({STUDENT: student, TEACHER: teacher, OTHERS: objective})

    def forward(self, function: Callable[[], Tensor]) -> Tensor:
        return function()

    def weights(self, part: str, required: bool = False) -> Mapping[str, Tensor]:
        """Leaves with the values of a part's weights, of all or of those that require gradients."""
        named = self.parts[part].named_parameters()
        chosen = ((name, one) for name, one in named if one.requires_grad or not required)
        return {f"parts.{part}.{name}": one.detach().requires_grad_() for name, one in chosen}

    def statistics(self) -> Mapping[str, Tensor]:
        """Copies of what computing may change, statistics and memories."""
        changing = ((part, self.parts[part].named_buffers()) for part in (STUDENT, OTHERS))
        return {f"parts.{part}.{name}": one.clone() for part, named in changing for name, one in named}


@contextmanager
def exact_attention() -> Iterator[None]:
    """Attention as its formula says, for that of fused kernels has no second derivative."""
    with sdpa_kernel(SDPBackend.MATH):
        yield
