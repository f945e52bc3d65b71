"""The optimizers of several learners as one, so that clipping, accumulation and mixed precision stay Lightning's."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR

from kd_lightning.errors import UserError
from kd_lightning.learners.names import of_learner
from kd_lightning.optimizers import SAM, LayerDecay
from kd_lightning.optimizers.layer_decay import is_layered
from kd_lightning.schedules.learning_rate import LearningRateSchedule
from kd_lightning.schedules.length import Length
from kd_lightning.schedules.torch_schedule import TorchSchedule, parts, scheduled

MakesOptimizer = Callable[..., Optimizer]
Schedule = LearningRateSchedule | TorchSchedule | Callable[[Optimizer], LRScheduler]


class LearnersOptimizer(Optimizer):
    """Steps the optimizer of each learner; its groups and its state are theirs, and their schedulers stay their own.

    It equals each of them, for Lightning looks for a scheduler's optimizer among those of the fit.

    Args:
        each: an optimizer for each learner.

    Raises UserError for one that calls its closure, such as L-BFGS, and for a further group of parameters.

    Examples:
        >>> import torch
        >>> from kd_lightning.learners.optimizer import LearnersOptimizer
        >>> first, second = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
        >>> adam, sgd = torch.optim.Adam(first.parameters()), torch.optim.SGD(second.parameters(), lr=0.1)
        >>> optimizer = LearnersOptimizer({"first": adam, "second": sgd})
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.001, 0.1]
    """

    def __init__(self, each: Mapping[str, Optimizer]) -> None:
        self.each = dict(each)
        for name, one in self.each.items():
            closure = inspect.signature(type(one).step).parameters.get("closure")
            if closure is not None and closure.default is inspect.Parameter.empty:
                raise UserError(
                    f"optimizer.{name}={type(one).__name__}: computes the loss several times a step, and this is that "
                    "of all learners; take another optimizer, or train the learners one by one"
                )
        self._is_made = False
        super().__init__([weight for group in self.param_groups for weight in group["params"]], {})
        self._is_made = True

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for one in self.each.values() for group in one.param_groups]

    @param_groups.setter
    def param_groups(self, value: object) -> None:
        """What torch sets in `__init__`: they are the learners'."""

    @property
    def state(self) -> Any:
        return StateOfAll(one.state for one in self.each.values())

    @state.setter
    def state(self, value: object) -> None:
        """What torch sets in `__init__`: it is the learners'."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        if self._is_made:
            names = ", ".join(f"each[{name!r}]" for name in self.each)
            raise UserError(f"param_group: whose is it? Add it to a learner's own optimizer: {names}")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for one in self.each.values():
            one.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        for one in self.each.values():
            one.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Each learner's by its name."""
        return {name: one.state_dict() for name, one in self.each.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Each learner's. Raises UserError for the state of other learners."""
        if set(state_dict) != set(self.each):
            raise UserError(
                f"student={', '.join(self.each)}: the checkpoint's optimizers are those of {', '.join(state_dict)}; "
                "name the same learners"
            )
        for name, one in self.each.items():
            one.load_state_dict(state_dict[name])

    def __eq__(self, other: object) -> bool:
        return self is other or any(one is other for one in self.each.values())

    __hash__ = Optimizer.__hash__


class StateOfAll(dict[Tensor, Any]):
    """The states of several optimizers; what is set goes to the one that has it, as Lightning moves them."""

    def __init__(self, states: Any) -> None:
        self._states = list(states)
        super().__init__({key: value for state in self._states for key, value in state.items()})

    def __setitem__(self, key: Tensor, value: Any) -> None:
        super().__setitem__(key, value)
        for state in self._states:
            if key in state:
                state[key] = value


def made(make: MakesOptimizer, parameters: list[nn.Parameter], network: nn.Module) -> Optimizer:
    """The optimizer of a learner, which is told its network where that decides its groups of parameters."""
    return make(parameters, network) if isinstance(make, (LayerDecay, SAM)) else make(parameters)


def optimizers_in(optimizer: Optimizer) -> dict[str, Optimizer]:
    """A fit's optimizers by learner; one alone by the name ""."""
    return optimizer.each if isinstance(optimizer, LearnersOptimizer) else {"": optimizer}


def rate_of(learner: str, optimizer: Optimizer) -> float:
    """A learner's learning rate in a fit's optimizer, that of its first group of parameters."""
    each = optimizers_in(optimizer)
    found: float = each.get(learner, next(iter(each.values()))).param_groups[0]["lr"]
    return found


def schedule_for(optimizer: Optimizer, schedule: Schedule, length: Length) -> dict[str, Any]:
    """A schedule for an optimizer, as Lightning takes it. Raises UserError for one that would undo rates by layer."""
    config = scheduled(schedule, optimizer, length)
    of_one_rate = [part for part in parts(config["scheduler"]) if isinstance(part, (OneCycleLR, CyclicLR))]
    if of_one_rate and is_layered(optimizer):
        raise UserError(
            f"scheduler={type(of_one_rate[0]).__name__}: sets one rate for all layers, beside optimizer.layer_decay; "
            "take another, such as kd_lightning.schedules.learning_rate.Cosine with a warm-up"
        )
    return config


def configured(optimizers: Mapping[str, Optimizer], schedules: Mapping[str, Any], length: Callable[[], Length]) -> Any:
    """The optimizers of learners and their schedules, as Lightning takes them.

    Of several, a schedule watches its own learner's metric, and a rate is logged by its learner's name. Raises
    UserError for a schedule whose length nobody knows.
    """
    if len(optimizers) == 1:
        ((learner, optimizer),) = optimizers.items()
        if schedules[learner] is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": schedule_for(optimizer, schedules[learner], length())}
    configs = []
    for learner, optimizer in optimizers.items():
        schedule = schedules[learner]
        if schedule is None:  # a rate that stays, so that it is logged by its learner's name too
            config: dict[str, Any] = {"scheduler": LearningRateSchedule()(optimizer, total=0), "interval": "epoch"}
        else:
            config = schedule_for(optimizer, schedule, length())
        if config.get("monitor"):
            config["monitor"] = of_learner(config["monitor"], learner)
        configs.append({**config, "name": f"lr-{type(optimizer).__name__}/{learner}"})
    return [LearnersOptimizer(optimizers)], configs
