"""What a training logs of itself beside its losses: throughput, memory, the size of the gradient."""

import time
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from kd_lightning.batch import as_streams, size_of
from kd_lightning.learners.names import of_learner
from kd_lightning.learners.optimizer import optimizers_in
from kd_lightning.tracking.memory import GIB


def is_logged(trainer: Trainer) -> bool:
    """Whether what is logged in this step goes to a logger: each `trainer.log_every_n_steps`."""
    return bool(trainer.loggers) and trainer._logger_connector.should_update_logs


class Throughput(Callback):
    """Counts the images trained on, over all devices, the seconds this took, and those of the whole fit.

    All go into checkpoints, so a resumed run counts on. The whole fit's seconds include validation and checkpoints.
    Logs `train/images_per_s`, over the steps since it was logged last.

    Examples:
        >>> import lightning
        >>> from kd_lightning.callbacks import Throughput
        >>> throughput = Throughput()
        >>> trainer = lightning.Trainer(callbacks=[throughput], accelerator="cpu")
        >>> throughput.images_per_s  # nothing is trained yet
        0.0
    """

    def __init__(self) -> None:
        self.images = 0
        self.seconds = 0.0
        self._earlier = 0.0
        self._began: float | None = None
        self._since: float | None = None
        self._logged = (0, 0.0)  # images and seconds when the rate was logged last

    @property
    def images_per_s(self) -> float:
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def fit_s(self) -> float:
        return self._earlier + (0.0 if self._began is None else time.perf_counter() - self._began)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.perf_counter()
        self._logged = (self.images, self.seconds)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += sum(map(size_of, as_streams(batch).values())) * trainer.world_size
        if is_logged(trainer):
            self._log_rate(pl_module)

    def _log_rate(self, pl_module: LightningModule) -> None:
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        (images, seconds), self._logged = self._logged, (self.images, self.seconds + running)
        rate = torch.tensor((self._logged[0] - images) / max(1e-9, self._logged[1] - seconds))
        pl_module.log("train/images_per_s", rate, on_step=True, on_epoch=False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._earlier, self._began = self.fit_s, None

    def _stop(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def state_dict(self) -> dict[str, Any]:
        return {"images": self.images, "seconds": self.seconds, "fit_s": self.fit_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.images, self.seconds = state_dict["images"], state_dict["seconds"]
        self._earlier = state_dict["fit_s"]


class DeviceMemory(Callback):
    """Logs `train/memory_gib`: the most that tensors took on the GPU so far; nothing on a CPU.

    So far in the run under kd-train, its earlier trainings included; elsewhere in the process.

    Examples:
        >>> import lightning
        >>> from kd_lightning.callbacks import DeviceMemory
        >>> trainer = lightning.Trainer(callbacks=[DeviceMemory()], accelerator="cpu")
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.device.type == "cuda" and is_logged(trainer):
            peak = torch.tensor(torch.cuda.max_memory_allocated(pl_module.device) / GIB)
            pl_module.log("train/memory_gib", peak, on_step=True, on_epoch=False)


class GradientNorm(Callback):
    """Logs `train/gradient_norm`: the 2-norm of all gradients together, before they are clipped.

    Of several learners that of each, `train/NAME/gradient_norm`.

    Examples:
        >>> import lightning
        >>> from kd_lightning.callbacks import GradientNorm
        >>> trainer = lightning.Trainer(callbacks=[GradientNorm()], accelerator="cpu")
    """

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if not is_logged(trainer):
            return
        for learner, one in optimizers_in(optimizer).items():
            parameters: list[Any] = [weight for group in one.param_groups for weight in group["params"]]
            gradients = [weight.grad for weight in parameters if weight.grad is not None]
            norm = get_total_norm(gradients) / loss_scale(trainer, optimizer)
            name = "train/gradient_norm"
            pl_module.log(of_learner(name, learner) if learner else name, norm, on_step=True, on_epoch=False)


def loss_scale(trainer: Trainer, optimizer: Optimizer) -> Tensor | float:
    """What the gradients are still multiplied by: in float16, a fused optimizer divides by it itself."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None or not getattr(optimizer, "_step_supports_amp_scaling", False):
        return 1.0
    scale: Tensor = scaler._scale  # get_scale() would ask the device for it
    return scale
