"""DistillationModule with a curriculum under a plain Trainer: order, observations, assessments, length, resumption."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, WeightedRandomSampler

from kd_lightning import DistillationModule, Term
from kd_lightning.callbacks import SeededBatches, SeededEpochs
from kd_lightning.curricula import Assessment, Curriculum, Samples
from kd_lightning.curricula.loaders import samples_of
from kd_lightning.data import DigitsDataModule
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy
from kd_lightning.schedules import Progress, Schedule, TorchSchedule
from kd_lightning.schedules.learning_rate import Cosine
from kd_lightning.store.hashing import fold

SAMPLES, CLASSES = 24, 3


class Numbered(Dataset[Any]):
    """Sample k is k in its first number."""

    def __init__(self, count: int = SAMPLES) -> None:
        self.targets = torch.arange(count) % CLASSES
        noise = torch.rand(count, 4, generator=torch.Generator().manual_seed(1))
        self.inputs = torch.cat([torch.arange(count)[:, None].float(), noise], dim=1)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        return self.inputs[position], self.targets[position]


class Hardest(Curriculum):
    """Three quarters of the samples, the hardest first, the first one twice; a random order at the beginning."""

    observes = ("student.logits", "target")

    def begin(self, samples: Samples) -> None:
        self.samples = samples
        self.loss = torch.zeros(len(samples.index), device=samples.index.device)
        self.batches: list[Tensor] = []
        self.results: list[Assessment] = []
        self.draws: dict[int, Tensor] = {}
        self.counts: list[int] = []

    def draw(self, epoch: int, count: int) -> Tensor:
        self.counts.append(count)
        order = torch.randperm(count) if epoch == 0 else self.loss.argsort(descending=True, stable=True).cpu()
        drawn = order if epoch == 0 else torch.cat([order[: 3 * count // 4], order[:1]])
        self.draws[epoch] = drawn
        return drawn

    def observe(self, positions: Tensor, signals: dict[str, Tensor]) -> None:
        self.batches.append(positions)
        loss = nn.functional.cross_entropy(signals["student.logits"], signals["target"], reduction="none")
        assert torch.equal(signals["target"], self.samples.target[positions])
        assert not signals["student.logits"].requires_grad
        self.loss[positions] = loss

    def assess(self, results: Assessment) -> None:
        self.results.append(results)

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loss = state["loss"]


class Inputs(Callback):
    """Notes the first number of each input, and the progress of each step."""

    def __init__(self) -> None:
        self.seen: dict[int, list[int]] = {}
        self.progress: list[Progress] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.setdefault(trainer.current_epoch, []).extend(batch[0][:, 0].long().tolist())
        self.progress.append(pl_module.progress())


def module(curriculum: Curriculum | None, **options: Any) -> DistillationModule:
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, CLASSES))
    return DistillationModule(network, num_classes=CLASSES, curriculum=curriculum, **options)


def fit(
    student: DistillationModule, loader: Any, *callbacks: Callback, ckpt: Path | None = None, **options: Any
) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    saves = any(isinstance(one, ModelCheckpoint) for one in callbacks)
    trainer = lightning.Trainer(
        **{"max_epochs": 3, "enable_checkpointing": saves, **quiet, **options}, callbacks=[*callbacks]
    )
    trainer.fit(student, loader, loader if options.get("validates") else None, ckpt_path=ckpt, weights_only=True)
    return trainer


@pytest.mark.parametrize("workers", [0, 2])
def test_a_map_style_loader_is_given_the_order_and_what_it_gave_is_observed(workers: int) -> None:
    given = DataLoader(Numbered(), 5, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    before = dict(vars(given))
    curriculum, inputs = Hardest(), Inputs()
    fit(module(curriculum), given, inputs)
    assert {epoch: drawn.tolist() for epoch, drawn in curriculum.draws.items()} == inputs.seen
    assert [len(seen) for seen in inputs.seen.values()] == [24, 19, 19]
    assert torch.cat(curriculum.batches).tolist() == [one for seen in inputs.seen.values() for one in seen]
    assert curriculum.counts == [24] * 3
    assert torch.equal(curriculum.samples.concepts, Numbered().targets)
    assert {name: vars(given)[name] for name in ("sampler", "batch_sampler")} == {
        name: before[name] for name in ("sampler", "batch_sampler")
    }  # the user's loader stays as it was


def test_an_epochs_progress_counts_by_the_batches_that_it_has() -> None:
    inputs = Inputs()
    fit(module(Hardest()), DataLoader(Numbered(), 5, shuffle=True), inputs, max_epochs=2)
    assert [one.epoch for one in inputs.progress] == pytest.approx(
        [k / 5 for k in range(5)] + [1 + k / 4 for k in range(4)]
    )
    assert [one.fraction for one in inputs.progress] == pytest.approx([one.epoch / 2 for one in inputs.progress])


@pytest.mark.parametrize(
    ("options", "batches", "count"),
    [
        ({"limit_train_batches": 2}, [2, 2], 10),
        ({"limit_train_batches": 0.5}, [2, 2], 10),
        ({"accumulate_grad_batches": 2}, [5, 4], 24),
        ({"max_steps": 7, "max_epochs": -1}, [5, 2], 24),
    ],
)
def test_limits_are_of_the_draw(options: dict[str, Any], batches: list[int], count: int) -> None:
    curriculum, inputs = Hardest(), Inputs()
    trainer = fit(module(curriculum), DataLoader(Numbered(), 5, shuffle=True), inputs, **{"max_epochs": 2, **options})
    assert curriculum.counts == [count] * 2
    assert [-(-len(seen) // 5) for seen in inputs.seen.values()] == batches
    if "accumulate_grad_batches" in options:
        assert trainer.global_step == 3 + 2


class Repeating(Curriculum):
    """Twice as many samples in each epoch as in the one before."""

    def draw(self, epoch: int, count: int) -> Tensor:
        return torch.arange(count).repeat(2**epoch)


def test_an_epoch_may_be_longer_than_the_data_and_is_validated_at_its_end() -> None:
    class Validated(Callback):
        steps: list[int]

        def __init__(self) -> None:
            self.steps = []

        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            self.steps += [] if trainer.sanity_checking else [trainer.global_step]

    validated, loader = Validated(), DataLoader(Numbered(), 8, shuffle=True)
    trainer = lightning.Trainer(
        max_epochs=3, callbacks=[validated], accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, val_check_interval=0.5,
    )  # fmt: skip
    trainer.fit(module(Repeating()), loader, DataLoader(Numbered(), 8))
    assert trainer.global_step == 3 + 6 + 12
    assert validated.steps == [1, 2, 3, 6, 9, 15, 21]


@pytest.mark.parametrize("seeded", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_killed_within_an_epoch_goes_on_with_its_draw(tmp_path: Path, workers: int, seeded: bool) -> None:
    def train(ckpt: Path | None) -> tuple[DistillationModule, Hardest, Inputs]:
        curriculum, inputs = Hardest(), Inputs()
        student = module(curriculum)
        loader = DataLoader(Numbered(), 5, shuffle=True, num_workers=workers)
        kept = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1)
        ours = [SeededBatches(0), SeededEpochs(0)] if seeded else []
        fit(student, loader, inputs, *ours, kept, ckpt=ckpt)
        return student, curriculum, inputs

    whole, first, inputs = train(None)
    for step in (2, 7) if seeded else (7,):
        [saved] = tmp_path.glob(f"*step={step}.ckpt")
        again, second, rest = train(saved)
        epoch, over = (0, 2) if step == 2 else (1, 2)
        assert rest.seen[epoch] == inputs.seen[epoch][5 * over :]
        assert {k: seen for k, seen in rest.seen.items() if k > epoch} == {
            k: seen for k, seen in inputs.seen.items() if k > epoch
        }
        assert torch.equal(first.loss, second.loss)
        for name, value in whole.state_dict().items():
            assert torch.equal(value, again.state_dict()[name]), name


def test_digits_are_drawn_and_resumed_with_workers(tmp_path: Path) -> None:
    class Kept(Hardest):
        observes = ()

        def observe(self, positions: Tensor, signals: dict[str, Tensor]) -> None:
            self.batches.append(positions)
            self.loss[positions] += 1 + positions / 1000

    def train(ckpt: Path | None, workers: int) -> tuple[Tensor, Kept]:
        curriculum = Kept()
        torch.manual_seed(0)
        student = DistillationModule(
            nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), num_classes=10, curriculum=curriculum
        )
        data = DigitsDataModule(batch_size=100, num_workers=workers)
        kept = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1)
        fit(student, data, kept, ckpt=ckpt, max_epochs=2, limit_val_batches=0)
        return student.student[1].weight.detach(), curriculum

    whole, first = train(None, 0)
    [saved] = tmp_path.glob("*step=7.ckpt")
    again, second = train(saved, 2)
    assert torch.equal(whole, again)
    assert torch.equal(first.loss, second.loss)


class OfAccuracy(Schedule):
    """A weight that is the latest accuracy of the first class."""

    def __call__(self, progress: Progress) -> float:
        found = progress.assessment
        return 0.0 if found is None else found.by_class["top1"][0]


def test_validations_are_assessed_and_schedules_see_them(tmp_path: Path) -> None:
    weights: list[float] = []

    class Weights(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            weights.append(pl_module.objective.weights(pl_module.progress())["ce"])

    def train(ckpt: Path | None) -> Hardest:
        curriculum = Hardest()
        terms = {"ce": Term(CrossEntropy(), ["student.logits", "target"], OfAccuracy())}
        trainer = lightning.Trainer(
            max_epochs=3, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=[Weights(), ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1)],
        )  # fmt: skip
        loaders = DataLoader(Numbered(), 8, shuffle=True), DataLoader(Numbered(12), 4)
        trainer.fit(module(curriculum, terms=terms), *loaders, ckpt_path=ckpt, weights_only=True)
        return curriculum

    results = train(None).results
    assert [one.epoch for one in results] == [0, 1, 2]
    for one in results:
        assert {"top1", "nll"} <= {*one.metrics}
        assert len(one.by_class["top1"]) == CLASSES
        assert math.fsum(one.by_class["top1"]) / CLASSES == pytest.approx(one.metrics["top1"])  # of equal classes
    expected = [0.0] * 3 + [results[0].by_class["top1"][0]] * 3 + [results[1].by_class["top1"][0]] * 3
    assert weights == expected
    weights.clear()
    [saved] = tmp_path.glob("*step=4.ckpt")
    train(saved)
    assert weights == expected[4:]


class Fixed(Curriculum):
    def __init__(self, drawn: Any) -> None:
        self.drawn = drawn

    def draw(self, epoch: int, count: int) -> Any:
        return self.drawn


class Forgetful(Fixed):
    def assess(self, results: Assessment) -> None:
        self.results = results


class Unkept(Fixed):
    def state_dict(self) -> dict[str, Any]:
        return {"state": object()}


class Named(Fixed):
    def __init__(self, *observes: str) -> None:
        self.observes = observes
        super().__init__(torch.arange(8))

    def observe(self, positions: Tensor, signals: dict[str, Tensor]) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": self.drawn}


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([(torch.zeros(5), 0)] * 8)


class Batches:
    def __iter__(self) -> Any:
        return iter([(torch.zeros(2, 5), torch.zeros(2).long())] * 4)


def shuffled() -> DataLoader[Any]:
    return DataLoader(Numbered(), 4, shuffle=True)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: (Fixed([1, 2]), shuffled()), "draw of epoch 0 is list; give positions int64"),
        (lambda: (Fixed(torch.ones(3)), shuffled()), r"is torch.float32 \(3,\)"),
        (lambda: (Fixed(torch.arange(0)), shuffled()), "is empty"),
        (lambda: (Fixed(torch.tensor([1, 24])), shuffled()), "holds 24; give positions .* from 0 to 23"),
        (lambda: (Fixed(torch.tensor([1, -1])), shuffled()), "holds -1"),
        (lambda: (Forgetful(torch.arange(8)), shuffled()), "has no state_dict"),
        (lambda: (Unkept(torch.arange(8)), shuffled()), "state_dict cannot be kept .*; give tensors and plain values"),
        (lambda: (Named("student.logitz"), shuffled()), "curriculum.observes=student.logitz: .*did you mean"),
        (lambda: (Named("confidence"), shuffled()), "curriculum.observes=confidence: the batch has no such signal"),
        (
            lambda: (Repeating(), DataLoader(Endless(), 4)),
            "are a stream, Endless; give one torch.utils.data.DataLoader",
        ),
        (lambda: (Repeating(), Batches()), "come from a Batches"),
        (
            lambda: (Repeating(), DataLoader(Numbered(), 4, sampler=WeightedRandomSampler([1.0] * 24, 24))),
            "have a sampler of their own, WeightedRandomSampler",
        ),
        (lambda: (Repeating(), {"a": shuffled(), "b": shuffled()}), r"several streams \(a, b\)"),
        (lambda: (Repeating(), CombinedLoader([shuffled(), shuffled()], "min_size")), "come from 2 loaders"),
    ],
)
def test_what_cannot_be_followed_is_told_in_a_line(make: Callable[[], tuple[Curriculum, Any]], told: str) -> None:
    curriculum, loader = make()
    with pytest.raises(UserError, match=told) as error:
        fit(module(curriculum), loader)
    assert str(error.value).startswith("curriculum")
    assert "\n" not in str(error.value)


def test_overfitting_the_same_batches_is_refused() -> None:
    with pytest.raises(UserError, match=r"trainer\.overfit_batches"):
        fit(module(Repeating()), shuffled(), overfit_batches=2)


def test_a_checkpoint_of_another_curriculum_is_refused(tmp_path: Path) -> None:
    for name, curriculum in (("none", None), ("other", Repeating())):
        fit(module(curriculum), shuffled(), ModelCheckpoint(tmp_path / name), max_epochs=1)
        [saved] = (tmp_path / name).glob("*.ckpt")
        with pytest.raises(UserError, match="curriculum=Hardest: the checkpoint is of a training with"):
            fit(module(Hardest()), shuffled(), ckpt=saved)


class Rates(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_a_learning_rate_by_steps_follows_the_progress_to_its_end(tmp_path: Path) -> None:
    def rates(curriculum: Curriculum | None, ckpt: Path | None = None, **schedule: Any) -> list[float]:
        seen, loader = Rates(), DataLoader(Numbered(), 4, shuffle=True)
        kept = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1)
        student = module(curriculum, scheduler=Cosine(interval="step", **schedule))
        callbacks = [seen, *([] if curriculum is None or schedule else [kept])]
        trainer = fit(student, loader, *callbacks, max_epochs=2, ckpt=ckpt)
        return [*seen.seen, trainer.optimizers[0].param_groups[0]["lr"]]

    class Whole(Curriculum):
        def draw(self, epoch: int, count: int) -> Tensor:
            return torch.arange(count)

    for schedule in ({}, {"warmup": 0.25}):
        assert rates(Whole(), **schedule) == rates(None, **schedule)
    for file in tmp_path.iterdir():
        file.unlink()
    whole = rates(Hardest())  # of six steps, and of five
    assert whole == pytest.approx([0.025 * (1 + math.cos(math.pi * round(x * 12) / 12)) for x in fractions(6, 5)])
    [saved] = tmp_path.glob("*step=8.ckpt")
    assert rates(Hardest(), saved) == whole[8:]


def fractions(*steps: int) -> list[float]:
    """How much of a training is over before each step, and at the end, of epochs with these steps."""
    return [(epoch + step / of) / len(steps) for epoch, of in enumerate(steps) for step in range(of)] + [1.0]


def test_a_scheduler_that_counts_steps_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    make = partial(torch.optim.lr_scheduler.StepLR, step_size=2)
    for interval, times in (("step", 1), ("epoch", 0)):
        fit(module(Hardest(), scheduler=TorchSchedule(make=make, interval=interval)), shuffled())
        told = capsys.readouterr()
        assert (told.out + told.err).count("epoch 1 has 5 steps, not 6") == times


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_step_that_is_left_out_is_not_observed(accumulated: int) -> None:
    class Seen(Hardest):
        def draw(self, epoch: int, count: int) -> Tensor:
            return torch.arange(count)

    data = Numbered()
    data.inputs[9] = math.inf  # in the third batch of four
    curriculum = Seen()
    fit(
        module(curriculum, on_nonfinite="skip"),
        DataLoader(data, 4, shuffle=True),
        max_epochs=1,
        accumulate_grad_batches=accumulated,
    )
    unseen = range(8, 12) if accumulated == 1 else range(8, 16)
    assert torch.cat(curriculum.batches).tolist() == [k for k in range(SAMPLES) if k not in unseen]
    assert bool(curriculum.loss.isfinite().all())


def test_the_same_module_is_trained_again_from_the_beginning() -> None:
    curriculum = Hardest()
    student = module(curriculum)
    for _ in range(2):
        inputs = Inputs()
        fit(student, DataLoader(Numbered(), 5, shuffle=True), inputs)
        assert sorted(inputs.seen[0]) == [*range(SAMPLES)]
        assert {*curriculum.draws} == {0, 1, 2}


def test_random_draws_follow_from_seed_and_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    def orders(seed: int) -> list[list[int]]:
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        torch.manual_seed(fold(seed, int(torch.randint(100, ()))))

        class Shuffled(Curriculum):
            def draw(self, epoch: int, count: int) -> Tensor:
                return torch.randperm(count)

        inputs = Inputs()
        fit(module(Shuffled()), shuffled(), inputs, max_epochs=2)
        return [*inputs.seen.values()]

    first = orders(1)
    assert first == orders(1)
    assert first[0] != first[1]
    assert orders(2) != first


def test_without_a_curriculum_nothing_is_there_to_follow() -> None:
    student = module(None)
    trainer = fit(student, DataLoader(TensorDataset(Numbered().inputs, Numbered().targets), 8, shuffle=True))
    assert student.followed is None
    assert student.progress().assessment is None
    assert not [one for one in trainer.callbacks if "Curriculum" in type(one).__name__]


def test_of_several_learners_the_first_ones_signals_go_by_student_the_others_by_name() -> None:
    class Both(Hardest):
        observes = ("student.logits", "second.logits", "target")

        def observe(self, positions: Tensor, signals: dict[str, Tensor]) -> None:
            self.logits = {name: signals[name] for name in self.observes[:2]}
            super().observe(positions, signals)

    class Outputs(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            with torch.no_grad():
                self.logits = {name: network(batch[0]) for name, network in pl_module.student.items()}

    torch.manual_seed(0)
    networks = {name: nn.Linear(5, CLASSES) for name in ("first", "second")}
    curriculum, outputs = Both(), Outputs()
    student = DistillationModule(networks, num_classes=CLASSES, curriculum=curriculum)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[outputs], enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(student, shuffled(), DataLoader(Numbered(12), 4))
    assert torch.equal(curriculum.logits["student.logits"], outputs.logits["first"])
    assert torch.equal(curriculum.logits["second.logits"], outputs.logits["second"])
    latest = curriculum.results[-1]
    assert {"first/top1", "second/top1"} <= {*latest.metrics}
    assert math.fsum(latest.by_class["top1"]) / CLASSES == pytest.approx(latest.metrics["first/top1"])


def test_what_a_data_set_tells_is_read_through_subsets_and_of_two_tensors() -> None:
    """As `random_split` gives them, of torchvision's data sets too."""

    class Told(TensorDataset):
        targets = (2, 0, 1, 0, 2)
        difficulty = (0.1, 0.2, 0.3, 0.4, 0.5)
        classes = ("a", "b", "c")

    data = Subset(Subset(Told(torch.rand(5, 2)), [4, 0, 2, 1]), [3, 0])
    samples = samples_of(DataLoader(data), True, torch.device("cpu"))
    assert samples.target is not None
    assert samples.target.tolist() == [0, 2]
    assert samples.difficulty is not None
    assert samples.difficulty.tolist() == pytest.approx([0.2, 0.5])
    assert samples.classes == ["a", "b", "c"]
    pairs = TensorDataset(torch.rand(3, 2), torch.tensor([1, 0, 1]))
    concepts = samples_of(DataLoader(Subset(pairs, [2, 1])), True, torch.device("cpu")).concepts
    assert concepts is not None
    assert concepts.tolist() == [1, 0]
