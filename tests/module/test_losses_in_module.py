"""What a DistillationModule gives to losses with parts, a memory or a course of their own."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import CRD, VID, CrossEntropy, CurriculumTemperature, SoftTarget
from kd_lightning.models.projectors import VIDRegressor
from tests.module.test_module import EXAMPLE, IMAGES, TARGETS, loader, network, trainer

CE = Term(CrossEntropy(), ["student.logits", "target"])
TRAINING_SET = {"index": torch.arange(24), "target": TARGETS}
MEMORY = ["student.pooled", "teacher.pooled", "index", "target", "train.index", "train.target"]


def indexed() -> DataLoader[Any]:
    batches = [
        {"input": IMAGES[n : n + 8], "target": TARGETS[n : n + 8], "index": torch.arange(n, n + 8)} for n in (0, 8, 16)
    ]
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def module(terms: Mapping[str, Term], **options: Any) -> DistillationModule:
    return DistillationModule(network(4), network(8), terms, example_input=EXAMPLE, **options)


class Course(nn.Module):
    """Notes where in the training it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, float]] = []

    def forward(self, logits: Tensor, epoch: Tensor, fraction: Tensor) -> Tensor:
        assert epoch.device.type == "cpu"
        self.seen.append((epoch.item(), fraction.item()))
        return logits.square().mean()


def test_a_loss_may_follow_the_progress(tmp_path: Path) -> None:
    course = Course()
    terms = {"course": Term(course, ["student.logits", "progress.epoch", "progress.fraction"])}
    trainer(tmp_path, max_epochs=2).fit(module(terms), loader(IMAGES, TARGETS))
    assert course.seen == [pytest.approx((n / 3, n / 6)) for n in range(6)]


@pytest.mark.parametrize(("weight", "decay"), [(1.0, 0.0), (0.0, 0.5)])
def test_a_learned_temperature_is_trained_and_decays(weight: float, decay: float, tmp_path: Path) -> None:
    """In float64, where so young a temperature moves; then without weight, and theta shrinks by lr·decay a step."""
    signals = ["student.logits", "teacher.logits", "progress.epoch"]
    term = Term(CurriculumTemperature(), signals, weight=weight)
    model = module({"ce": CE, "ctkd": term}, optimizer=partial(torch.optim.SGD, lr=0.1, weight_decay=decay))
    (group,) = model.configure_optimizers().param_groups
    (theta,) = model.objective.parameters()
    assert any(parameter is theta for parameter in group["params"])
    training = trainer(tmp_path, max_epochs=2, precision="64-true")
    training.fit(model, loader(IMAGES, TARGETS))
    if decay:
        assert theta.item() == pytest.approx((1 - 0.1 * decay) ** training.global_step, rel=1e-5)
    else:
        assert theta.item() != 1.0


def test_parts_built_from_examples_are_trained_and_belong_to_one_module() -> None:
    term = Term(VID(), ["student.stages", "teacher.stages"], projector=VIDRegressor)
    first, second = module({"vid": term}), module({"vid": term})
    own = [{id(parameter) for parameter in model.objective.parameters()} for model in (first, second)]
    assert own[0]
    assert not own[0] & own[1]
    assert list(term.loss.parameters()) == []
    trained = {id(p) for group in first.configure_optimizers().param_groups for p in group["params"]}
    assert own[0] <= trained


def test_a_memory_bank_has_a_row_for_each_training_image(tmp_path: Path) -> None:
    model = module({"ce": CE, "crd": Term(CRD(8, 6), MEMORY)}, training_set=TRAINING_SET)
    before = {name: value.clone() for name, value in model.objective.state_dict().items()}
    trainer(tmp_path, max_epochs=1).fit(model, indexed())
    after = model.objective.state_dict()
    banks = [name for name, value in after.items() if value.shape == (24, 8)]
    assert len(banks) == 2
    assert all((before[name] != after[name]).any(1).all() for name in banks), "every image was seen once"
    assert not any("training_set" in name for name in model.state_dict())
    assert {f"objective.{name}" for name in banks} <= set(model._ddp_params_and_buffers_to_ignore)


class DifferentBuffers(Callback):
    """Makes the processes begin with different memories, and keeps what each has at the end."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for buffer in self.memory(pl_module).values():
            buffer.add_(trainer.global_rank)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.save(self.memory(pl_module), Path(trainer.default_root_dir) / str(trainer.global_rank))

    def memory(self, module: LightningModule) -> dict[str, Tensor]:
        assert isinstance(module, DistillationModule)
        return module.objective.synchronized_buffers()


@pytest.mark.slow
def test_memory_banks_of_all_processes_are_those_of_the_first(tmp_path: Path) -> None:
    model = module({"ce": CE, "crd": Term(CRD(8, 6), MEMORY)}, training_set=TRAINING_SET)
    options: dict[str, Any] = {"max_epochs": 1, "devices": 2, "strategy": "ddp_spawn", "use_distributed_sampler": False}
    trainer(tmp_path, callbacks=[DifferentBuffers()], **options).fit(model, indexed())
    first, second = (torch.load(tmp_path / str(rank)) for rank in range(2))
    assert first.keys() == second.keys()
    assert len(first) >= 5
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_memory_bank_needs_to_know_the_training_set() -> None:
    with pytest.raises(UserError, match=r"terms\.crd\.signals=train\.index: .* training_set"):
        module({"crd": Term(CRD(8, 6), MEMORY)})


def test_a_memory_bank_needs_the_index_of_each_image() -> None:
    model = module({"crd": Term(CRD(8, 6), MEMORY)}, training_set=TRAINING_SET)
    with pytest.raises(UserError, match="signals=index: nobody gives this signal"):
        model.objective(model.signals({"input": IMAGES[:8], "target": TARGETS[:8]}))


def test_a_strong_view_that_no_term_takes_costs_nothing() -> None:
    terms = {"kd": Term(SoftTarget(), ["student.logits", "teacher.logits"])}
    signals = module(terms).signals({"input": IMAGES, "input_strong": IMAGES, "target": TARGETS})
    assert not any("strong" in name for name in signals)


def test_the_terms_of_a_network_of_another_shape_are_refused_with_their_name() -> None:
    from kd_lightning.losses import FSP

    with pytest.raises(UserError, match=r"terms\.flow"):
        module({"flow": Term(FSP(), ["student.stages", "teacher.stages"])})
