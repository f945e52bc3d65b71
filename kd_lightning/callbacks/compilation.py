"""Compiled networks for the length of a training."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch._dynamo.exc import TorchDynamoException

from kd_lightning.data import ImageDataModule
from kd_lightning.errors import UserError
from kd_lightning.terminal import say


class Compilation(Callback):
    """Compiles the networks of a training in place with `torch.compile`, before the training is timed.

    Each runs once on a batch of noise, in the training's precision; that leaves no trace in weights, statistics or the
    random state. Of data that are no `ImageDataModule` the shape is not known: there the first step compiles. The taps
    stand already, so compiled code notes them. After the fit the networks are as they were. Raises `UserError` where
    nothing can be compiled, for want of a C++ compiler for example.

    Args:
        mode: `torch.compile`'s; `reduce-overhead` records CUDA graphs, for which all batches should have one size
            (data.drop_last=true).
    """

    def __init__(self, mode: str = "default") -> None:
        self.mode = mode

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        for source in pl_module.sources.values():
            source.compile(mode=self.mode)
        data = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, ImageDataModule):
            names = " and ".join(type(pl_module.network_of(learner)).__name__ for learner in pl_module.learners)
            say("compiling", f"{names}, mode {self.mode}")
            with trainer.precision_plugin.forward_context():
                self._run_once(pl_module, (data.batch_size, *data.input_shape))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        torch.compiler.cudagraph_mark_step_begin()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for part in pl_module.modules():
            part._compiled_call_impl = None

    def _run_once(self, module: Any, shape: tuple[int, ...]) -> None:
        """Those that learn forward and backward, the others forward."""
        devices = [module.device] if module.device.type == "cuda" else []
        buffers = {name: value.clone() for name, value in module.student.named_buffers()}
        weights = [weight for weight in module.student.parameters() if weight.requires_grad]
        try:
            with torch.random.fork_rng(devices):
                batch = {"input": torch.rand(shape, device=module.device)}
                logits = [source(batch)["logits"].float().sum() for source in module.sources.values() if source.trained]
                if weights:  # an initialisation may train parts of terms alone
                    torch.autograd.grad(logits, weights, allow_unused=True)
                for source in module.sources.values():
                    if not source.trained:
                        source(batch)
        except TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"compile={self.mode}: {reason}; use compile=false") from error
        with torch.no_grad():
            for name, value in module.student.named_buffers():
                value.copy_(buffers[name])
