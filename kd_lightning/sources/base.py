"""What every teacher has in common: it is never trained and never stored."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from kd_lightning.batch import Batch
from kd_lightning.models.batch_norm import batch_statistics


class Teacher(nn.Module):
    """Maps a batch to signals without gradients; always in eval mode, never in a checkpoint.

    A subclass implements `answer` and `identity`, names in `signals` what it can give, and calls `freeze` once built.
    """

    signals: list[str]
    """What this teacher can give, such as `logits`, `stage1`; stages from input to output."""

    batch_statistics: bool = False
    """Whether batch normalisations take each training batch's own statistics; the running ones stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[nn.Module] | None = None
        self.register_load_state_dict_pre_hook(_keep_own_state)

    def answer(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The requested signals for a batch."""
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """What this teacher is, in plain values, for checkpoints and summaries."""
        raise NotImplementedError

    def request(self, signals: set[str]) -> None:
        """Learn which signals the objective takes; called before the first answer."""

    def before_transfer(self, batch: Batch) -> Batch:
        """A training batch, still on the CPU, with whatever this teacher already knows of it."""
        return batch

    def close(self) -> None:
        """Give back the files that it holds open; asked again, it opens them anew."""

    def forward(self, batch: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """The requested signals; `training` says that the student learns from them, not that anything here does."""
        if self._parts is None:
            self._parts = list(self.modules())  # to walk the tree in every step would take as long as a layer
        if any(part.training for part in self._parts):  # somebody called train() on a part of it
            self.train(False)
        own = training and self.batch_statistics and len(batch["input"]) > 1  # a single image has no variance
        with torch.no_grad(), batch_statistics(self) if own else nullcontext():
            return self.answer(batch)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the networks inside in place, each by itself; arguments as of `torch.compile`."""
        for network in self.children():
            network.compile(*args, **kwargs)

    def freeze(self) -> None:
        """Into eval mode, and out of every optimizer's reach."""
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Empty: a checkpoint holds no teacher."""
        return {} if destination is None else destination


def _keep_own_state(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    # Fills in what a checkpoint leaves out, so that strict loading still guards the student beside this module.
    state_dict.update(nn.Module.state_dict(module, prefix=prefix))


class LogitsOf(nn.Module):
    """A teacher as an ordinary network, to be tested like one: inputs (B, …) to its logits (B, C)."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, inputs: Tensor) -> Tensor:
        return self.teacher({"input": inputs})["logits"]
