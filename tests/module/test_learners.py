"""Several learners in one fit: each ends as it would alone, and they may learn from one another."""

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.callbacks import GradientNorm, MidEpoch, SeededBatches, SeededEpochs, for_learners
from kd_lightning.errors import UserError
from kd_lightning.learners.objectives import total_of
from kd_lightning.learners.over_sources import OverPeers
from kd_lightning.losses import CrossEntropy, FitNet, MeanSquaredLogits, SoftTarget
from kd_lightning.losses.sample_weights import Confidence
from kd_lightning.models.projectors import Regressor
from kd_lightning.schedules.learning_rate import Cosine
from kd_lightning.schedules.progress import Progress
from kd_lightning.schedules.torch_schedule import TorchSchedule
from kd_lightning.sources import Learner, MovingAverage
from tests.module.test_module import EXAMPLE, IMAGES, TAPS, TARGETS, loader, network, trainer

TERMS = {
    "ce": Term(CrossEntropy(), ["student.logits", "target"], 0.5),
    "kd": Term(SoftTarget(4), ["student.logits", "teacher.logits"]),
    "fitnet": Term(FitNet(), ["student.hint", "teacher.hint"], 10.0, partial(Regressor)),
}
OPTIMIZERS: dict[str, Any] = {
    "wide": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "slim": partial(torch.optim.AdamW, lr=0.01),
}
SCHEDULERS: dict[str, Any] = {
    "wide": Cosine(interval="step"),
    "slim": TorchSchedule(make=partial(ReduceLROnPlateau, factor=0.1, patience=0), monitor="val/nll"),
}


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(3)
    return {"wide": network(6), "slim": network(2)}


def learning(*names: str, **options: Any) -> DistillationModule:
    """A module of one learner alone, or of several in one fit."""
    given, teacher = networks(), network(4)
    torch.manual_seed(5)
    one = len(names) == 1
    settings: dict[str, Any] = {"optimizer": OPTIMIZERS, "scheduler": SCHEDULERS} | options
    chosen = {key: value[names[0]] if one else {name: value[name] for name in names} for key, value in settings.items()}
    student: Any = given[names[0]] if one else {name: given[name] for name in names}
    taps: dict[str, Any] = {"student_taps": TAPS, "teacher_taps": TAPS}
    return DistillationModule(student, teacher, TERMS, example_input=EXAMPLE, num_classes=3, **taps, **chosen)


def own_state(module: DistillationModule, name: str) -> dict[str, Tensor]:
    several = len(module.learners) > 1
    found = {}
    for part in ("student", "objective"):
        start = f"{part}.{name}." if several else f"{part}."
        for key, value in module.state_dict().items():
            if key.startswith(start):
                found[f"{part}.{key.removeprefix(start)}"] = value
    return found


def fitted(folder: Path, *names: str, seeded: bool = False, **options: Any) -> DistillationModule:
    module = learning(*names)
    if options.pop("half", False):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        options["plugins"] = [MixedPrecision("16-mixed", "cpu", scaler)]
    run = trainer(folder, **options, callbacks=[SeededBatches(7)] if seeded else [])
    torch.manual_seed(11)
    run.fit(module, loader(IMAGES, TARGETS), loader(IMAGES, TARGETS))
    return module


@pytest.mark.parametrize(
    "options",
    [
        {"seeded": True, "gradient_clip_val": 0.5},
        {"seeded": True, "gradient_clip_val": 0.01, "gradient_clip_algorithm": "value", "max_epochs": 1},
        {"seeded": True, "accumulate_grad_batches": 2},
        {"seeded": True, "precision": "bf16-mixed", "max_epochs": 1},
        {"seeded": True, "half": True, "gradient_clip_val": 0.5, "max_epochs": 1},
        {"max_epochs": 1},
    ],
)
def test_two_learners_in_one_fit_end_as_each_would_alone(tmp_path: Path, options: dict[str, Any]) -> None:
    both = fitted(tmp_path, "wide", "slim", **options)
    for name in ("wide", "slim"):
        alone = own_state(fitted(tmp_path, name, **options), name)
        together = own_state(both, name)
        assert list(together) == list(alone)
        assert any("projections" in key for key in alone)
        for key, value in alone.items():
            assert torch.equal(together[key], value), f"{name}: {key}"


MUTUAL = {
    "ce": Term(CrossEntropy(), ["student.logits", "target"]),
    "mutual": Term(SoftTarget(1), ["student.logits", "peers.logits"]),
}


class Linear(nn.Module):
    """A network whose outputs numpy computes as well."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        weight = torch.randn(3, 64, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        return images.double().flatten(1) @ self.weight.T


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


@pytest.mark.parametrize("count", [2, 3])
def test_the_first_step_of_deep_mutual_learning_is_that_of_the_paper(tmp_path: Path, count: int) -> None:
    """L_k = CE(p_k) + 1/(K−1)·Σ_l KL(p_l ‖ p_k); its gradient, p_l held, is that of plain torch."""
    given = {f"net{place}": Linear(place) for place in range(count)}
    module = DistillationModule(given, terms=MUTUAL, optimizer=partial(torch.optim.SGD, lr=1.0))
    before = {name: one.weight.detach().clone() for name, one in given.items()}
    run = trainer(tmp_path, max_steps=1, logger=CSVLogger(tmp_path), log_every_n_steps=1, limit_val_batches=0)
    run.fit(module, loader(IMAGES[:8], TARGETS[:8]))

    images = IMAGES[:8].double().flatten(1)
    logs = {name: log_softmax((images @ weight.T).numpy()) for name, weight in before.items()}
    total = 0.0
    for name in given:
        ce = -logs[name][np.arange(8), TARGETS[:8].numpy()].mean()
        others = [other for other in given if other != name]
        kl = np.mean([(np.exp(logs[o]) * (logs[o] - logs[name])).sum(axis=1).mean() for o in others])
        for term, expected in {"ce": ce, "mutual": kl, "loss": ce + kl}.items():
            assert float(run.callback_metrics[f"train/{name}/{term}"]) == pytest.approx(expected, rel=1e-5)
        total += ce + kl

        weight = before[name].clone().requires_grad_()
        own = (images @ weight.T).log_softmax(dim=1)
        loss = torch.nn.functional.nll_loss(own, TARGETS[:8])
        for other in others:
            soft = torch.from_numpy(np.exp(logs[other]))
            loss = loss + torch.nn.functional.kl_div(own, soft, reduction="batchmean") / len(others)
        loss.backward()
        assert weight.grad is not None
        torch.testing.assert_close(given[name].weight.detach(), before[name] - weight.grad, rtol=1e-5, atol=1e-6)
    assert float(run.callback_metrics["train/loss"]) == pytest.approx(total, rel=1e-5)


def test_terms_reach_their_own_learner_and_projectors_alone() -> None:
    terms = {
        "mutual": Term(SoftTarget(4), ["student.logits", "peers.logits"], sample_weight=Confidence("peers.logits")),
        "hint": Term(FitNet(), ["student.hint", "peers.hint"], 1.0, partial(Regressor)),
    }
    given: Any = {"one": network(2), "two": network(4), "three": network(6)}
    module = DistillationModule(given, terms=terms, student_taps=TAPS, example_input=EXAMPLE)
    signals = module.signals({"input": IMAGES, "target": TARGETS})
    module.losses((signals, {}))["one"].total.backward()
    reached = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    own = {name for name, _ in module.named_parameters() if name.startswith(("student.one.", "objective.one."))}
    assert reached == own
    projected = {peer: term.projections for peer, term in one_over_peers(module, "hint").terms().items()}
    widths = {peer: next(p for p in each.parameters() if p.ndim == 4).shape[:2] for peer, each in projected.items()}
    assert widths == {"two": (8, 4), "three": (12, 4)}, "a projector to each peer"
    (optimizer,), _ = module.configure_optimizers()
    for name, own_optimizer in optimizer.each.items():
        held = {id(p) for group in own_optimizer.param_groups for p in group["params"]}
        parts = (module.network_of(name), module.objectives[name])
        assert held == {id(p) for part in parts for p in part.parameters()}


def one_over_peers(module: DistillationModule, term: str) -> OverPeers:
    found = dict(module.objectives["one"].items())[term]
    assert isinstance(found, OverPeers)
    return found


def test_a_learner_takes_another_one_and_a_teacher_by_name() -> None:
    """As a teacher that is trained beside its student: the student follows it, it learns from targets alone."""
    terms = {
        "big": {"ce": Term(CrossEntropy(), ["student.logits", "target"], 0.25)},
        "small": {
            "follow": Term(MeanSquaredLogits(), ["small.logits", "big.logits"]),
            "kd": Term(MeanSquaredLogits(), ["student.logits", "fixed.logits"], 2.0),
        },
    }
    given = {"big": Linear(1), "small": Linear(2)}
    fixed = Linear(3)
    module = DistillationModule(given, {"fixed": fixed}, terms)
    values = module.losses((module.signals({"input": IMAGES, "target": TARGETS}), {}))
    big, small, other = (one(IMAGES).detach() for one in (*given.values(), fixed))
    torch.testing.assert_close(values["small"].raw["follow"], (small - big).square().mean())
    torch.testing.assert_close(
        values["small"].total, (small - big).square().mean() + 2 * (small - other).square().mean()
    )
    values["small"].total.backward()
    assert given["big"].weight.grad is None
    assert given["small"].weight.grad is not None
    assert sorted(name.partition(".")[2] for name in module.state_dict()) == ["big.weight", "small.weight"]


def test_what_is_logged_watched_and_kept_goes_by_learner(tmp_path: Path) -> None:
    best = ModelCheckpoint(tmp_path, monitor="val/top1", mode="max", filename="best", save_last=True)
    callbacks = for_learners([best, EarlyStopping("val/nll", patience=9), GradientNorm()], ["wide", "slim"])
    rates = LearningRateMonitor("step")
    module = learning("wide", "slim")
    shown: dict[str, Any] = {"logger": CSVLogger(tmp_path), "log_every_n_steps": 1, "enable_checkpointing": True}
    run = trainer(tmp_path, callbacks=[*callbacks, rates], **shown)
    run.fit(module, loader(IMAGES, TARGETS), loader(IMAGES, TARGETS))
    logged = set(run.callback_metrics)
    for name in ("wide", "slim"):
        terms = {f"train/{name}/{term}" for term in ("loss", "ce", "kd_weighted", "fitnet", "gradient_norm")}
        assert terms | {f"val/{name}/top1", f"val/{name}/nll"} <= logged
    assert "val/top1" not in logged
    assert "train/ce" not in logged
    parts = run.callback_metrics["train/wide/loss"] + run.callback_metrics["train/slim/loss"]
    torch.testing.assert_close(run.callback_metrics["train/loss"], parts)
    assert set(rates.lrs) == {"lr-SGD/wide", "lr-AdamW/slim"}
    assert rates.lrs["lr-SGD/wide"][0] > rates.lrs["lr-SGD/wide"][-1]
    assert {file.name for file in tmp_path.glob("*.ckpt")} == {"best_wide.ckpt", "best_slim.ckpt", "last.ckpt"}
    (measured,) = run.test(module, loader(IMAGES, TARGETS), verbose=False)
    assert {f"test/{name}/{metric}" for name in ("wide", "slim") for metric in ("top1", "agreement")} <= set(measured)
    assert set(module.tested) == {"wide", "slim"}
    for name, expected in measured.items():
        if name.endswith("top1"):
            learner = name.split("/")[1]
            right = module.network_of(learner).eval()(IMAGES).argmax(dim=1) == TARGETS
            assert expected == pytest.approx(float(right.float().mean()))


def test_a_schedule_that_watches_a_metric_watches_its_own_learners(tmp_path: Path) -> None:
    module = learning("wide", "slim")
    run = trainer(tmp_path, max_epochs=1)
    run.fit(module, loader(IMAGES, TARGETS), loader(IMAGES, TARGETS))
    assert [config.monitor for config in run.lr_scheduler_configs] == [None, "val/slim/nll"]


def test_what_goes_on_from_a_checkpoint_ends_equally(tmp_path: Path) -> None:
    """Also from within an epoch, with `weights_only`, under a moving average of one learner."""

    def made() -> DistillationModule:
        torch.manual_seed(2)
        average = MovingAverage(0.9, of="slim")
        follow = {"follow": Term(SoftTarget(4), ["student.logits", "teacher.logits"])} | MUTUAL
        return DistillationModule(networks(), average, follow, OPTIMIZERS, {**SCHEDULERS, "slim": Cosine()})

    def fit(module: DistillationModule, *more: Callback, ckpt_path: Path | None = None) -> None:
        callbacks = [SeededBatches(4), SeededEpochs(4), MidEpoch(), *more]
        run = trainer(tmp_path, callbacks=callbacks, max_epochs=3, enable_checkpointing=bool(more))
        run.fit(module, datamodule=Shuffled(), ckpt_path=ckpt_path, weights_only=True)

    whole, rest = made(), made()
    fit(whole, ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1))
    within = tmp_path / "step=5.ckpt"  # the second of three batches of the second epoch
    kept = torch.load(within, weights_only=True)
    assert set(kept["optimizer_states"][0]) == {"wide", "slim"}
    assert any(name.startswith("teacher.") for name in kept["state_dict"])
    fit(rest, ckpt_path=within)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name
    other = DistillationModule({"wide": network(6), "thin": network(2)}, terms=MUTUAL)
    with pytest.raises((UserError, RuntimeError), match="thin"):
        fit(other, ckpt_path=within)


class Shuffled(lightning.LightningDataModule):
    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(IMAGES, TARGETS), batch_size=8, shuffle=True)


class Spoiled(nn.Module):
    """A network whose second batch in training gives what is not finite."""

    def __init__(self, inner: nn.Module, at: int) -> None:
        super().__init__()
        self.inner, self.at, self.calls = inner, at, 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += self.training
        logits: Tensor = self.inner(images)
        return logits * math.nan if self.training and self.calls == self.at else logits


def test_a_learner_leaves_out_its_own_bad_step_and_the_others_learn_on(tmp_path: Path) -> None:
    def fit(*names: str) -> DistillationModule:
        given: dict[str, nn.Module] = {"wide": Spoiled(networks()["wide"], at=2), "slim": networks()["slim"]}
        student: Any = {name: given[name] for name in names} if len(names) > 1 else given[names[0]]
        optimizer = OPTIMIZERS if len(names) > 1 else OPTIMIZERS[names[0]]
        terms = {"ce": Term(CrossEntropy(), ["student.logits", "target"])}
        average = MovingAverage(0.9, of="wide" if len(names) > 1 else None)
        module = DistillationModule(student, average, terms, optimizer, on_nonfinite="skip")
        trainer(tmp_path, callbacks=[SeededBatches(1)], max_epochs=1).fit(module, loader(IMAGES, TARGETS))
        return module

    both = fit("wide", "slim")
    assert both.finite.skipped_of == {"wide": 1}
    for name in ("wide", "slim"):
        alone = fit(name)
        own = own_state(both, name)
        assert all(torch.equal(value, own[key]) for key, value in own_state(alone, name).items())
        if name == "wide":  # whose moving average follows the steps that it takes
            averaged = {key: value for key, value in alone.state_dict().items() if key.startswith("teacher.")}
            assert all(torch.equal(value, both.state_dict()[key]) for key, value in averaged.items())
            assert averaged


def test_a_bad_step_names_its_learner(tmp_path: Path) -> None:
    given = {"wide": networks()["wide"], "slim": Spoiled(networks()["slim"], at=2)}
    module = DistillationModule(given, terms={"ce": Term(CrossEntropy(), ["student.logits", "target"])})
    with pytest.raises(RuntimeError, match=r"step 1: slim's ce \(nan\) is not finite"):
        trainer(tmp_path).fit(module, loader(IMAGES, TARGETS))


def refused(match: str, student: Any = None, *args: Any, **options: Any) -> None:
    given = {"one": nn.Linear(4, 3), "two": nn.Linear(4, 3)} if student is None else student
    with pytest.raises(UserError, match=match):
        DistillationModule(given, *args, **options)


def test_what_cannot_be_is_refused() -> None:
    shared = nn.Linear(4, 3)
    tied = nn.Linear(4, 3)
    tied.weight = shared.weight
    kd = {"kd": Term(SoftTarget(4), ["student.logits", "peers.logits"])}
    unknown = {"kd": Term(SoftTarget(4), ["student.logits", "pears.logits"])}
    tap = {"kd": Term(SoftTarget(4), ["student.logits", "peers.stage9"])}
    refused(r"student\.two=Linear: shares weight with the student\.one", {"one": shared, "two": tied})
    refused(r"student\.two=Linear: is the student\.one itself", {"one": shared, "two": shared})
    refused(
        r"teacher\.big=Linear: shares weight with the student\.one",
        {"one": shared, "two": nn.Linear(4, 3)},
        {"big": tied},
    )
    refused(r"student\.peers: cannot be a network's name", {"peers": shared, "two": tied})
    refused(r"student=\{\}: no network", {})
    refused(r"teacher\.one: .* is a learner's", None, {"one": nn.Linear(4, 3)})
    refused(r"teacher=Learner: is trained, .*give it as one of the learners", None, Learner(nn.Linear(4, 3)))
    refused(r"terms\.kd\.signals=peers\.logits: stands for the other learners", nn.Linear(4, 3), terms=kd)
    refused(r"terms\.kd\.signals=peers\.logits: stands for the other learners", {"one": shared}, terms=kd)
    refused(r"terms\.kd\.signals=pears\.logits: nobody gives this signal; did you mean peers\.logits\?", terms=unknown)
    refused(r"terms\.two\.kd\.signals=pears\.logits: nobody", terms={"one": kd, "two": unknown})
    refused(
        r"terms\.kd\.signals=peers\.stage9: the two has no such tap; .*student_taps\.two",
        terms=tap,
        student_taps={"hint": ""},
    )
    refused(r"terms\.three: no learner of this name; there are one, two", terms={"one": kd, "two": kd, "three": kd})
    refused(r"terms: has nothing for two; give terms\.two", terms={"one": kd})
    refused(r"terms\.kd=Term: stands among terms by learner", terms={"one": kd, **kd})
    refused(r"optimizer\.tow: no learner of this name; did you mean two\?", optimizer={"tow": torch.optim.SGD})
    refused(r"scheduler: has nothing for two", scheduler={"one": Cosine()})
    refused(r"student_taps\.three: no learner", student_taps={"three": "auto"})
    refused(r"of=None: name the learner to average; there are one, two", None, MovingAverage())


def test_an_optimizer_that_asks_for_the_loss_again_is_refused(tmp_path: Path) -> None:
    given = {"one": network(2), "two": network(2)}
    module = DistillationModule(given, optimizer={"one": torch.optim.LBFGS, "two": torch.optim.Adam}, num_classes=3)
    with pytest.raises(UserError, match=r"optimizer\.one=LBFGS: computes the loss several times"):
        trainer(tmp_path).fit(module, loader(IMAGES, TARGETS))


def test_one_learner_by_name_is_one_learner(tmp_path: Path) -> None:
    terms = {"only": {"kd": Term(SoftTarget(4), ["only.logits", "teacher.logits"])}}
    module = DistillationModule({"only": network(2)}, network(4), terms)
    run = trainer(tmp_path, max_epochs=1)
    run.fit(module, loader(IMAGES, TARGETS), loader(IMAGES, TARGETS))
    assert {"train/kd", "train/loss"} <= set(run.callback_metrics)
    assert {name.partition(".")[0] for name in module.state_dict()} == {"student"}
    assert type(run.optimizers[0]) is torch.optim.SGD


def test_what_is_called_and_exported_is_the_first_learner() -> None:
    module = DistillationModule({"one": network(2), "two": network(2)}, terms=MUTUAL, example_input=EXAMPLE).eval()
    assert torch.equal(module(IMAGES), module.network_of("one")(IMAGES))
    torch.testing.assert_close(module.to_torchscript()(IMAGES), module.network_of("one")(IMAGES))


class RunningMean(nn.Module):
    """A loss that remembers, and has nothing that is trained."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, logits: Tensor) -> Tensor:
        self.mean += logits.detach().mean()
        return logits.square().mean()


@pytest.mark.parametrize("by_learner", [False, True])
def test_a_loss_that_remembers_does_so_for_its_own_learner(by_learner: bool) -> None:
    terms: Any = {"own": Term(RunningMean(), ["student.logits"])}
    given = {"one": Linear(1), "two": Linear(2)}
    module = DistillationModule(given, terms=dict.fromkeys(given, terms) if by_learner else terms)
    module.losses((module.signals({"input": IMAGES}), {}))
    means = [module.get_buffer(f"objective.{name}.terms.own.loss.mean") for name in given]
    for mean, one in zip(means, given.values(), strict=True):
        torch.testing.assert_close(mean.double(), one(IMAGES).detach().mean(), rtol=1e-5, atol=1e-6)


def test_a_copy_has_optimizers_and_views_of_its_own() -> None:
    module = learning("wide", "slim")
    twin = copy.deepcopy(module)
    assert twin.network_of("wide") is not module.network_of("wide")
    assert twin.objectives["wide"] is twin.get_submodule("objective.wide")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_learners_draw_on_the_gpu_as_alone_and_nothing_waits_for_it(tmp_path: Path, precision: str) -> None:
    options: dict[str, Any] = {"accelerator": "gpu", "precision": precision, "seeded": True, "max_epochs": 1}
    rounding = {"rtol": 1e-2, "atol": 1e-4} if precision == "16-mixed" else {"rtol": 1.3e-6, "atol": 1e-5}
    both = fitted(tmp_path, "wide", "slim", **options)
    for name in ("wide", "slim"):
        alone = own_state(fitted(tmp_path, name, **options), name)
        torch.testing.assert_close(own_state(both, name), alone, **rounding)
    both.cuda().train()
    batch = {"input": IMAGES.cuda(), "target": TARGETS.cuda()}
    both.losses((both.signals(batch), {}), Progress())
    torch.cuda.set_sync_debug_mode("error")
    try:
        with both.random.step(both.device):
            total_of(both.losses((both.signals(batch), {}), Progress())).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.slow
def test_ranks_train_several_learners_as_each_alone(tmp_path: Path) -> None:
    options: dict[str, Any] = {"devices": 2, "strategy": "ddp_spawn", "seeded": True, "max_epochs": 1}
    both = fitted(tmp_path, "wide", "slim", **options)
    for name in ("wide", "slim"):
        alone = own_state(fitted(tmp_path, name, **options), name)
        torch.testing.assert_close(own_state(both, name), alone)
