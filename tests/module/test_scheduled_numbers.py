"""Any number of a term may follow a schedule: what trains is what the number of the moment would train."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import (
    CATKD,
    CRD,
    DKD,
    MLKD,
    RKD,
    VID,
    CrossEntropy,
    CurriculumTemperature,
    FactorTransfer,
    LogitStandardization,
    ReviewKD,
    SoftTarget,
    functional,
)
from kd_lightning.losses.sample_weights import Entropy
from kd_lightning.objective import Objective
from kd_lightning.schedules import Cosine, Linear, Progress, Schedule, Steps, Warmup
from tests.module.test_module import IMAGES, TARGETS, loader, network, trainer
from tests.module.test_objective import signals

BOTH = ["student.logits", "teacher.logits"]
MOMENTS = [Progress(), Progress(epoch=2.5, fraction=0.25), Progress(epoch=7.0, fraction=0.7), Progress(10.0, 1.0)]


class Power(Schedule):
    """One of one's own."""

    def __call__(self, progress: Progress) -> float:
        return float(4 * 0.5 ** min(progress.fraction, 1.0))


class Margin(nn.Module):
    """A loss of one's own, with a number."""

    def __init__(self, margin: Any) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        assert isinstance(self.margin, float)
        return (student - teacher).abs().sub(self.margin).clamp(min=0).mean(dim=1)


@pytest.mark.parametrize("schedule", [Linear(8, 1), Cosine(1, 8), Steps([4, 2], epochs=[3]), Warmup(4, 5), Power()])
def test_a_temperature_follows_its_schedule(schedule: Schedule) -> None:
    objective, given = Objective({"kd": Term(SoftTarget(schedule), BOTH)}), signals()
    for progress in MOMENTS:
        expected = functional.kd(given["student.logits"], given["teacher.logits"], schedule(progress))
        assert torch.equal(objective(given, progress).total, expected)
        assert objective.changing(progress)["kd_temperature"].item() == pytest.approx(schedule(progress))


def test_every_number_follows_its_schedule() -> None:
    target = [*BOTH, "target"]
    terms = {
        "dkd": Term(DKD(alpha=Linear(0, 1), beta=Cosine(8, 2), temperature=4.0), target, weight=Warmup(2.0, 5)),
        "ls": Term(LogitStandardization(SoftTarget(Linear(4, 2))), BOTH),
        "ce": Term(CrossEntropy(label_smoothing=Linear(0.2, 0)), ["student.logits", "target"]),
        "own": Term(Margin(Linear(0, 1)), BOTH, sample_weight=Entropy(temperature=Linear(4, 1))),
        "mlkd": Term(MLKD([Linear(2, 3), 4.0], [4.0]), [*BOTH, *BOTH]),
    }
    objective, given = Objective(terms), signals(torch.float64)
    student, teacher = (given[name] for name in BOTH)
    for progress in MOMENTS:
        f = progress.fraction
        beta = 5 + 3 * math.cos(math.pi * f)
        raw = objective(given, progress).raw
        expected = {
            "dkd": functional.dkd(student, teacher, given["target"], f, beta, 4.0),
            "ls": functional.logit_standardization_kd(student, teacher, 4 - 2 * f),
            "ce": functional.cross_entropy(student, given["target"], 0.2 * (1 - f)),
            "own": (Entropy(temperature=4 - 3 * f)(given) * Margin(float(f))(student, teacher)).mean(),
            "mlkd": functional.mlkd(student, teacher, student, teacher, [2 + f, 4.0], [4.0]),
        }
        torch.testing.assert_close(raw, expected)
        changing = {name: value.item() for name, value in objective.changing(progress).items()}
        assert changing == pytest.approx(
            {
                "dkd_weight": objective.weights(progress)["dkd"],
                "dkd_alpha": f,
                "dkd_beta": beta,
                "ls_temperature": 4 - 2 * f,
                "ce_label_smoothing": 0.2 * (1 - f),
                "own_margin": f,
                "own_sample_weight_temperature": 4 - 3 * f,
                "mlkd_temperatures0": 2 + f,
                "mlkd_temperatures1": 4.0,
            }
        )


def test_a_learned_temperature_within_bounds_that_move() -> None:
    term = Term(CurriculumTemperature(start=Linear(1, 3), range=2.0), [*BOTH, "progress.epoch"])
    objective = Objective({"ctkd": term})
    found = [objective.changing(progress)["ctkd_temperature"].item() for progress in (MOMENTS[0], MOMENTS[-1])]
    assert found[1] - found[0] == pytest.approx(2.0)
    assert objective(signals(), MOMENTS[1]).total.isfinite()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SoftTarget(Linear(8, 0)),
            r"^temperature=Linear\(start=8, end=0\): takes the value 0; must be a finite",
        ),
        (lambda: SoftTarget(Cosine(-1, 4)), "takes the value -1; must be a finite number above 0"),
        (lambda: DKD(beta=Steps([1, -2], epochs=[3])), r"^beta=Steps\(.*\): takes the value -2; .* at least 0"),
        (lambda: CrossEntropy(Linear(0, 1)), "^label_smoothing=.*: takes the value 1; must be at least 0 and below 1"),
        (lambda: RKD(distance_weight=Linear(1, -1)), "^distance_weight=.*takes the value -1"),
        (
            lambda: SoftTarget(lambda progress: 4.0),
            r"^temperature=<.*must be .* or a kd_lightning\.schedules\.Schedule",
        ),
        (lambda: CRD(embedding=Linear(1, 2)), "^embedding=.*decides what is made before the training; give a number"),
        (lambda: ReviewKD(max_width=Linear(1, 2)), "^max_width=.*decides what is made"),
        (lambda: VID(initial_variance=Linear(1, 2)), "^initial_variance=.*decides what is made"),
        (lambda: FactorTransfer(rate=Linear(0.5, 1)), "^rate=.*decides what is made"),
        (lambda: CATKD(resolution=Linear(4, 2)), "^resolution=.*: must be a whole number; .* Steps alone"),
        (lambda: CATKD(resolution=Steps([4, 2.5], epochs=[1])), "^resolution=.*: must be a whole number"),
    ],
)
def test_a_schedule_of_numbers_that_are_not_allowed(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_whole_numbers_by_steps() -> None:
    maps = [torch.randn(2, 3, 8, 8), torch.randn(5, 3)] * 2
    term = Term(CATKD(resolution=Steps([4, 2], epochs=[1])), ["a", "b", "c", "d"])
    given = dict(zip("abcd", maps, strict=True))
    for epoch, resolution in ((0.0, 4), (1.0, 2)):
        assert torch.equal(term(given, Progress(epoch=epoch)), CATKD(resolution)(*maps))


# In a training.


class Seen(Callback):
    """Notes the temperatures that steps log."""

    def __init__(self) -> None:
        self.temperatures: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.temperatures.append(trainer.callback_metrics["train/kd_temperature"].item())


def module(temperature: Any = None) -> DistillationModule:
    torch.manual_seed(0)
    terms = {
        "ce": Term(CrossEntropy(), ["student.logits", "target"], Linear(0.1, 0.5)),
        "kd": Term(SoftTarget(temperature or Linear(8, 1)), BOTH, 0.9),
    }
    return DistillationModule(network(4), network(8), terms)


def fitted(folder: Path, callbacks: Iterable[Callback] = (), ckpt: Path | None = None, **options: Any) -> Any:
    made = module()
    run = trainer(folder, callbacks=[*callbacks], log_every_n_steps=1, max_epochs=4, **options)
    torch.manual_seed(1)
    run.fit(made, loader(IMAGES, TARGETS), ckpt_path=ckpt)
    return made, run


def test_a_training_without_hydra_logs_it_and_goes_on_exactly(tmp_path: Path) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            if trainer.global_step == 6:
                trainer.save_checkpoint(tmp_path / "half.ckpt")
                trainer.should_stop = True

    seen, half, rest = Seen(), Seen(), Seen()
    fitted(tmp_path, [seen])
    assert seen.temperatures == pytest.approx([8 - 7 * step / 12 for step in range(12)])
    fitted(tmp_path, [half, Stop()])
    fitted(tmp_path, [rest], tmp_path / "half.ckpt")
    assert half.temperatures + rest.temperatures == seen.temperatures


def test_an_unlimited_training_is_refused(tmp_path: Path) -> None:
    made = module(Linear(8, 1))
    made.objective = Objective({"kd": Term(SoftTarget(Linear(8, 1)), BOTH)})
    with pytest.raises(UserError, match=r"terms\.kd changes over the whole of it"):
        made.objective.refuse_without_length()
    Objective({"kd": Term(SoftTarget(Steps([4, 1], epochs=[3])), BOTH)}).refuse_without_length()


def test_compiled_networks_are_not_compiled_anew_for_each_number(tmp_path: Path) -> None:
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    graphs: list[int] = []

    class Compiled(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            assert isinstance(pl_module, DistillationModule)
            pl_module.student.compile(backend="eager")
            assert pl_module.teacher is not None
            pl_module.teacher.compile(backend="eager")

        def on_train_batch_end(self, *_: Any) -> None:
            graphs.append(counters["stats"]["unique_graphs"])

    seen = Seen()
    fitted(tmp_path, [Compiled(), seen])
    assert len(set(seen.temperatures)) == 12
    assert graphs[0] >= 2
    assert len(set(graphs)) == 1
