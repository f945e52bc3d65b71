"""Learners whose terms take all peers at once: collaborative learning and mutual contrast in one fit."""

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningDataModule
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.callbacks import MidEpoch, SeededBatches, SeededEpochs
from kd_lightning.errors import UserError
from kd_lightning.losses import KDCL, MCL, AttentionTransfer, CrossEntropy, functional
from kd_lightning.losses.sample_weights import Confidence
from kd_lightning.schedules import Progress
from kd_lightning.schedules.length import Length
from tests.module.test_learners import Shuffled
from tests.module.test_module import EXAMPLE, IMAGES, TARGETS, loader, network, trainer

CE = Term(CrossEntropy(), ["student.logits", "target"])
OF_PEERS = ["student.logits", "peers.logits", "target"]
POOLED = {"logits": "", "pooled": "4"}
MUTUAL_CONTRAST = {"ce": CE, "mcl": Term(MCL(embedding=8), ["student.pooled", "peers.pooled", "target"])}


def learners(count: int = 3) -> dict[str, nn.Module]:
    torch.manual_seed(3)
    return {name: network(width) for name, width in zip(("one", "two", "three")[:count], (2, 4, 6), strict=False)}


def collaborating(collaboration: Any, count: int = 3, **options: Any) -> DistillationModule:
    terms = {"ce": CE, "kdcl": Term(KDCL(collaboration, temperature=3.0), OF_PEERS)}
    return DistillationModule(learners(count), terms=terms, num_classes=3, **options)


def contrasting(**options: Any) -> DistillationModule:
    return DistillationModule(
        learners(), terms=MUTUAL_CONTRAST, student_taps=POOLED, example_input=EXAMPLE, num_classes=3, **options
    )


def values_of(module: DistillationModule) -> tuple[dict[str, Tensor], dict[str, Any]]:
    signals = module.signals({"input": IMAGES, "target": TARGETS})
    return signals, module.losses((signals, {}))


@pytest.mark.parametrize("collaboration", ["naive", "minlogit", "linear"])
def test_a_loss_takes_all_peers_at_once(collaboration: Any) -> None:
    module = collaborating(collaboration)
    signals, values = values_of(module)
    logits = {name: signals[f"{name}.logits"].detach() for name in module.learners}
    for name, value in values.items():
        others = [one for other, one in logits.items() if other != name]
        expected = functional.kdcl(logits[name], others, TARGETS, collaboration, 3.0)
        torch.testing.assert_close(value.raw["kdcl"], expected)
    values["two"].total.backward()
    reached = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    assert reached == {name for name, _ in module.named_parameters() if name.startswith("student.two.")}


def test_a_frozen_teacher_joins_the_peers() -> None:
    taken: list[Any] = ["student.logits", ["peers.logits", "teacher.logits"], "target"]
    module = DistillationModule(learners(), network(8), {"kdcl": Term(KDCL("naive"), taken)}, num_classes=3)
    signals, values = values_of(module)
    others = [signals[f"{name}.logits"].detach() for name in ("one", "three", "teacher")]
    expected = functional.kdcl(signals["two.logits"], others, TARGETS, "naive", 2.0)
    torch.testing.assert_close(values["two"].raw["kdcl"], expected)


def test_layers_in_a_list_still_go_by_peer_and_so_do_sample_weights() -> None:
    lists: list[Any] = [["student.hint", "student.hint"], ["peers.hint", "peers.hint"]]
    weighted = Term(KDCL("mean"), OF_PEERS, sample_weight=Confidence("peers.logits"))
    terms = {"layers": Term(AttentionTransfer(), lists), "weighted": weighted}
    taps = {"logits": "", "hint": "1"}
    module = DistillationModule(learners(), terms=terms, student_taps=taps, example_input=EXAMPLE, num_classes=3)
    signals, values = values_of(module)
    one, *peers = (signals[f"{name}.hint"] for name in module.learners)
    each = [functional.attention_transfer([one, one], [peer, peer]) for peer in peers]
    torch.testing.assert_close(values["one"].raw["layers"], torch.stack(each).mean())
    logits = [signals[f"{name}.logits"] for name in module.learners]
    by_sample = functional.kdcl(logits[0], logits[1:], TARGETS, "mean", 2.0, reduction="none")
    means = [(peer.softmax(1).amax(1) * by_sample).mean() for peer in logits[1:]]
    torch.testing.assert_close(values["one"].raw["weighted"], torch.stack(means).mean())


class Spread(nn.Module):
    """A loss of one's own over all peers."""

    all_at_once = True

    def forward(self, own: Tensor, others: list[Tensor]) -> Tensor:
        return (own - torch.stack(others).amax(dim=0)).square().mean(dim=1)


def test_ones_own_loss_over_all_peers() -> None:
    module = DistillationModule(learners(), terms={"own": Term(Spread(), OF_PEERS[:2])}, num_classes=3)
    signals, values = values_of(module)
    most = torch.maximum(signals["one.logits"], signals["three.logits"])
    torch.testing.assert_close(values["two"].raw["own"], (signals["two.logits"] - most).square().mean())


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"terms\.kdcl\.signals=peers\.logits: stands for the other learners"):
        DistillationModule(network(2), terms={"kdcl": Term(KDCL(), OF_PEERS)})
    alone: dict[str, Any] = {"one": MUTUAL_CONTRAST, "two": {"ce": CE}, "three": {"ce": CE}}
    taps: Any = {"student_taps": POOLED, "example_input": EXAMPLE}
    with pytest.raises(UserError, match=r"^terms\.one\.mcl: signals: one of the others has no head"):
        DistillationModule(learners(), terms=alone, **taps)
    with pytest.raises(UserError, match=r"^terms\.kdcl: its loss weighs .* there are none; .* such as minlogit"):
        trainer(tmp_path).fit(collaborating("general"), loader(IMAGES, TARGETS))
    pooled = Term(KDCL("general"), ["student.pooled", "peers.pooled", "target"])
    with pytest.raises(UserError, match=r"^terms\.kdcl\.signals=one\.pooled: is not known of validation data"):
        DistillationModule(learners(), terms={"kdcl": pooled}, **taps)


def test_heads_belong_to_their_learner_also_of_a_copy() -> None:
    module = contrasting()
    _, values = values_of(module)
    values["one"].total.backward()
    reached = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    own = {name for name, _ in module.named_parameters() if name.startswith(("student.one.", "objective.one."))}
    assert reached == own
    assert len([name for name in own if ".embed." in name]) == 4
    (optimizer,), _ = module.configure_optimizers()
    for name, one in optimizer.each.items():
        held = {id(p) for group in one.param_groups for p in group["params"]}
        assert held == {id(p) for part in (module.network_of(name), module.objectives[name]) for p in part.parameters()}
    copied = copy.deepcopy(module)
    with torch.no_grad():
        for name, parameter in copied.named_parameters():
            parameter.add_(1.0 if ".two." in name and ".embed." in name else 0.0)
    module.eval(), copied.eval()
    before, after = values_of(module)[1], values_of(copied)[1]
    assert before["one"].raw["mcl"] != after["one"].raw["mcl"], "the copy sees the heads of the copy"
    again = values_of(module)[1]
    assert torch.equal(before["one"].raw["mcl"], again["one"].raw["mcl"]), "and the module its own"


@pytest.mark.parametrize("kind", ["general", "contrast"])
def test_what_goes_on_from_within_an_epoch_ends_equally(tmp_path: Path, kind: str) -> None:
    """Also in the weights that the validation before has found."""
    made = partial(collaborating, kind, 2) if kind == "general" else contrasting

    def fit(module: DistillationModule, *more: Callback, ckpt_path: Path | None = None) -> None:
        callbacks = [SeededBatches(4), SeededEpochs(4), MidEpoch(), *more]
        run = trainer(tmp_path, callbacks=callbacks, enable_checkpointing=bool(more))
        run.fit(module, datamodule=Validated(), ckpt_path=ckpt_path, weights_only=True)

    whole, rest = made(), made()
    begun = total_of(whole)
    fit(whole, ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1))
    fit(rest, ckpt_path=tmp_path / "step=5.ckpt")  # the second of three batches of the second epoch
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name
    assert total_of(whole) < begun


class Validated(Shuffled):
    def val_dataloader(self) -> DataLoader[Any]:
        return loader(IMAGES, TARGETS)


def total_of(module: DistillationModule) -> float:
    values = values_of(module.eval())[1]
    module.train()
    return sum(float(value.total.detach()) for value in values.values())


def test_general_weights_are_of_the_latest_validation(tmp_path: Path) -> None:
    module = collaborating("general")
    run = trainer(tmp_path, max_epochs=1, num_sanity_val_steps=1)
    run.fit(module, loader(IMAGES, TARGETS), loader(IMAGES[:20], TARGETS[:20]))
    module.eval()
    labels = np.eye(3)[TARGETS[:20].numpy()]
    with torch.no_grad():
        errors = {
            name: module.network_of(name)(IMAGES[:20]).softmax(1).double().numpy() - labels for name in module.learners
        }
    for name, objective in module.objectives.items():
        own = [errors[name], *(one for other, one in errors.items() if other != name)]
        correlation = np.array([[(a * b).sum(1).mean() for a in own] for b in own])
        correlation += 1e-6 * np.diag(correlation).mean() * np.eye(3)
        inverse = np.linalg.inv(correlation)
        expected = torch.from_numpy(inverse.sum(1) / inverse.sum())
        weights = dict(objective.items())["kdcl"].loss.weights
        assert isinstance(weights, Tensor)
        torch.testing.assert_close(weights.double(), expected, rtol=1e-3, atol=1e-3)
    before = dict(module.objectives["one"].items())["kdcl"].loss.weights
    kept = before.clone()  # type: ignore[operator]
    run.validate(module, loader(IMAGES[:3], TARGETS[:3]), verbose=False)
    assert torch.equal(before, kept), "a validation of no training changes nothing"  # type: ignore[arg-type]


@pytest.mark.parametrize("made", [partial(collaborating, "linear"), partial(collaborating, "general"), contrasting])
def test_no_step_waits_for_the_device(made: Any) -> None:
    module = made()
    module.length = Length(max_epochs=10, max_steps=math.inf, steps_from={0: 1})
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        batch = {"input": mode.from_tensor(IMAGES), "target": mode.from_tensor(TARGETS)}
        values = module.losses((module.signals(batch), {}), Progress(fraction=0.5))
        torch.stack([value.total for value in values.values()]).sum().backward()


# Several ranks.


def flat(width: int) -> nn.Module:
    """Without statistics of a batch, which are each rank's own, and without dropout."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 3))


class Dealt(LightningDataModule):
    """Batches of eight, of which each of several ranks has its share, in order."""

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        ranks, data = self.trainer.world_size, TensorDataset(IMAGES, TARGETS)
        dealt = DistributedSampler(data, ranks, self.trainer.global_rank, shuffle=False)
        return DataLoader(data, batch_size=8 // ranks, sampler=dealt)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.train_dataloader()


def trained_on(devices: int, folder: Path) -> DistillationModule:
    torch.manual_seed(5)
    terms = {
        "ce": CE,
        "kdcl": Term(KDCL("general"), OF_PEERS),
        "mcl": Term(MCL(embedding=8, scale=0.5, gather=True), ["student.pooled", "peers.pooled", "target"]),
    }
    module = DistillationModule(
        {"one": flat(5), "two": flat(9)},
        terms=terms,
        optimizer=partial(torch.optim.SGD, lr=0.05),
        student_taps={"logits": "", "pooled": "2"},
        example_input=EXAMPLE,
        num_classes=3,
    )
    several: dict[str, Any] = {"devices": devices, "strategy": "ddp_spawn"} if devices > 1 else {}
    trainer(folder, **several, use_distributed_sampler=False).fit(module, datamodule=Dealt())
    return module


@pytest.mark.slow
def test_a_training_on_two_ranks_is_that_of_one(tmp_path: Path) -> None:
    alone, together = (trained_on(devices, tmp_path).state_dict() for devices in (1, 2))
    assert alone.keys() == together.keys()
    assert (alone["objective.one.terms.kdcl.loss.weights"] - 0.5).abs().max() > 1e-3
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-3, atol=1e-4, msg=name)
