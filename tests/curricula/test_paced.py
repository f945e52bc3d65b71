"""A curriculum of a difficulty, an order and a pace: each part against an independent computation, and whole runs."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kd_lightning.curricula import (
    BabySteps,
    Curriculum,
    Difficulty,
    Disagreement,
    DynamicHardness,
    EasyFirst,
    Exponential,
    Flips,
    FromData,
    FromFile,
    HardFirst,
    Linear,
    Logarithmic,
    Pace,
    Paced,
    Quadratic,
    RandomOrder,
    Root,
    SampleOrder,
    Samples,
    Step,
    StudentLoss,
)
from kd_lightning.errors import UserError
from kd_lightning.runs.files import CURRICULUM, METRICS
from kd_lightning.runs.metrics_rows import read_rows
from kd_lightning.schedules import Progress
from tests.conftest import SHORT, Command

B, A = 0.2, 0.6  # the start's share, and where all is in use
PUBLISHED: dict[type[Pace], Callable[[float], float]] = {  # arXiv:2012.03107, table 1, for N = T = 1
    Linear: lambda t: B + (1 - B) / A * t,
    Quadratic: lambda t: B + (1 - B) / A**2 * t**2,
    Root: lambda t: B + (1 - B) / A**0.5 * t**0.5,
    Exponential: lambda t: B + (1 - B) / (math.exp(10) - 1) * (math.exp(10 * t / A) - 1),
    Logarithmic: lambda t: B + (1 - B) * (1 + 0.1 * math.log(t / A + math.exp(-10))),
    Step: lambda t: B + math.floor(t / A),
}
PACES = (*PUBLISHED, BabySteps)


@pytest.mark.parametrize("kind", PUBLISHED)
def test_a_pace_is_the_published_one(kind: type[Pace]) -> None:
    for t in (0.0, 0.05, 0.3, 0.45, 0.599):
        assert kind(B, A)(t) == pytest.approx(PUBLISHED[kind](t), abs=1e-12)


@pytest.mark.parametrize("kind", PACES)
def test_a_pace_grows_from_its_start_to_all(kind: type[Pace]) -> None:
    shares = [kind(B, A)(t / 100) for t in range(101)]
    assert shares[0] == pytest.approx(B)
    assert shares == sorted(shares)
    assert shares[60:] == [1.0] * 41


def test_a_bucket_is_opened_as_its_epoch_begins() -> None:
    pace = BabySteps(start=0.2, full_at=0.8, buckets=5)
    assert [pace(epoch / 10) for epoch in range(10)] == pytest.approx([0.2, 0.2, 0.4, 0.4, 0.6, 0.6, 0.8, 0.8, 1, 1])


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_any_root_of_the_time(power: float) -> None:
    assert Root(B, A, power)(0.3) == pytest.approx(B + (1 - B) * 0.5 ** (1 / power))


@pytest.mark.parametrize("wrong", [{"start": 0.0}, {"start": 1.5}, {"full_at": 0.0}, {"full_at": 2.0}])
def test_shares_outside_of_a_whole_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        Linear(**wrong)


DIFFICULTY = torch.tensor([0.3, 0.1, 0.9, 0.5, 0.7, 0.2, 0.8, 0.4, 0.6])
CLASSES = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1])
SAMPLES = Samples(torch.arange(9), CLASSES, difficulty=DIFFICULTY)


@pytest.mark.parametrize(("order", "sign"), [(EasyFirst(), 1), (HardFirst(), -1)])
def test_an_order_by_difficulty(order: SampleOrder, sign: int) -> None:
    assert order(DIFFICULTY, SAMPLES).tolist() == sorted(range(9), key=lambda i: sign * float(DIFFICULTY[i]))


@pytest.mark.parametrize("order", [EasyFirst(True), HardFirst(True), RandomOrder(True, seed=3)])
def test_a_stratified_order_has_each_share_of_classes_in_proportion(order: SampleOrder) -> None:
    first = order(DIFFICULTY, SAMPLES)
    assert sorted(first.tolist()) == [*range(9)]
    for third in (3, 6, 9):
        assert int((CLASSES[first[:third]] == 0).sum()) == 2 * third // 3
    plain = type(order)(**{**vars(order), "stratified": False})(DIFFICULTY, SAMPLES)
    for label in (0, 1):
        assert [i for i in first.tolist() if CLASSES[i] == label] == [i for i in plain.tolist() if CLASSES[i] == label]


def test_the_control_is_fixed_and_of_its_seed_alone() -> None:
    orders = [RandomOrder(seed=seed)(difficulty, SAMPLES) for seed, difficulty in ((0, DIFFICULTY), (0, -DIFFICULTY))]
    assert torch.equal(*orders)
    assert not torch.equal(orders[0], RandomOrder(seed=1)(DIFFICULTY, SAMPLES))


def test_the_control_is_the_same_ranking_from_the_first_epoch_on() -> None:
    paced = Paced(StudentLoss(), RandomOrder(seed=4), Linear(start=0.2))
    paced.begin(Samples(torch.arange(100)))
    drawn = []
    for epoch in range(3):
        paced.progress = Progress(epoch=epoch, fraction=epoch / 10)
        drawn.append({*paced.draw(epoch, 100).tolist()})
    assert drawn[0] < drawn[1] < drawn[2]
    assert not paced.learns, "so that it is known beforehand"


@pytest.mark.parametrize("order", [EasyFirst(), HardFirst()])
def test_what_was_not_seen_is_as_hard_as_what_was_by_chance(order: SampleOrder) -> None:
    """Neither first nor last: about as many of it are in use as of what was seen."""
    loss = StudentLoss()
    paced = Paced(loss, order, Linear(start=0.5))
    paced.begin(Samples(torch.arange(2_000)))
    paced.draw(0, 2_000)
    loss.seen[:1_000] = True
    loss.values[:1_000] = 1 + torch.rand(1_000, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    unseen = sum(sample >= 1_000 for sample in {*paced.draw(1, 2_000).tolist()})
    assert 420 < unseen < 580


@pytest.mark.parametrize("none", [[-1, -1, -1], [-100, -100, -100], [-1, -100, -1]])
def test_samples_without_a_label_are_a_class_of_their_own(none: list[int]) -> None:
    unlabelled = torch.cat([CLASSES[:6], torch.tensor(none)])
    found = EasyFirst(True)(DIFFICULTY, Samples(torch.arange(9), unlabelled))
    assert torch.equal(found, EasyFirst(True)(DIFFICULTY, SAMPLES))


def test_stratified_needs_classes() -> None:
    with pytest.raises(UserError, match="stratified"):
        EasyFirst(True)(DIFFICULTY, Samples(torch.arange(9), torch.rand(9)))


Batches = list[tuple[Tensor, dict[str, Tensor]]]


def batches(count: int = 12, classes: int = 3, samples: int = 7) -> Batches:
    chance = torch.Generator().manual_seed(0)
    found = []
    for _ in range(count):
        positions = torch.randperm(samples, generator=chance)[:3]
        student, teacher = torch.randn(2, 3, classes, generator=chance)
        target = positions % classes
        found.append((positions, {"student.logits": student, "teacher.logits": teacher, "target": target}))
    return found


def seen(difficulty: Difficulty, given: Batches) -> Tensor:
    difficulty.begin(Samples(torch.arange(7), torch.arange(7) % 3))
    for positions, signals in given:
        difficulty.observe(positions, {name: signals[name] for name in difficulty.observes})
    return difficulty.values


def softmax(logits: Tensor) -> list[float]:
    powers = [math.exp(value) for value in logits.tolist()]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("kind", [StudentLoss, Disagreement])
def test_a_running_difficulty_is_each_samples_own_mean(kind: type[StudentLoss | Disagreement]) -> None:
    expected: dict[int, float] = {}
    for positions, signals in batches():
        for row, position in enumerate(positions.tolist()):
            student, teacher = (softmax(signals[f"{name}.logits"][row]) for name in ("student", "teacher"))
            value = -math.log(student[int(signals["target"][row])])
            if kind is Disagreement:
                value = sum(t * (math.log(t) - math.log(s)) for s, t in zip(student, teacher, strict=True))
            expected[position] = 0.7 * expected[position] + 0.3 * value if position in expected else value
    found = seen(kind(decay=0.7), batches())
    assert found.tolist() == pytest.approx([expected[position] for position in range(7)], rel=1e-5)


def test_flips_count_what_was_forgotten_and_what_was_never_learned_most() -> None:
    was_right, flips, learned = dict.fromkeys(range(7), False), dict.fromkeys(range(7), 0), set()
    for positions, signals in batches(40):
        for row, position in enumerate(positions.tolist()):
            right = int(signals["student.logits"][row].argmax()) == int(signals["target"][row])
            flips[position] += was_right[position] and not right
            was_right[position] = right
            learned |= {position} if right else set()
    most = max(flips.values()) + 1
    assert seen(Flips(), batches(40)).tolist() == [flips[i] if i in learned else most for i in range(7)]


@pytest.mark.parametrize("kind", [StudentLoss, Disagreement, Flips, DynamicHardness])
def test_of_a_sample_that_a_batch_has_repeatedly_the_last_one_counts(kind: type[Difficulty]) -> None:
    chance = torch.Generator().manual_seed(1)
    repeated, once = [], []
    for _ in range(20):
        positions = torch.randint(7, (12,), generator=chance)
        student, teacher = torch.randn(2, 12, 3, generator=chance)
        signals = {"student.logits": student, "teacher.logits": teacher, "target": positions % 3}
        repeated.append((positions, signals))
        rows = [*{position: row for row, position in enumerate(positions.tolist())}.values()]
        once.append((positions[rows], {name: value[rows] for name, value in signals.items()}))
    torch.testing.assert_close(seen(kind(), repeated), seen(kind(), once), rtol=0, atol=0)


@pytest.mark.parametrize("kind", [StudentLoss, Disagreement, Flips])
def test_a_difficulty_goes_on_from_its_state(kind: type[Difficulty]) -> None:
    whole, before, after = kind(), kind(), kind()
    expected = seen(whole, batches())
    seen(before, batches()[:5])
    after.begin(Samples(torch.arange(7)))
    after.load_state_dict(before.state_dict())
    for positions, signals in batches()[5:]:
        after.observe(positions, signals)
    torch.testing.assert_close(after.values, expected, rtol=0, atol=0)


HARD = [0.5, -1.0, 3e4, 0.0]
FILES = {  # by name: what they hold
    "plain.csv": "0.5\n-1\n3e4\n0\n",
    "header.csv": "difficulty\n0.5\n-1\n3e4\n0\n",
    "indexed.csv": "3,0\n1,-1\n0,0.5\n2,3e4\n",
    "both.csv": "\ufeffindex,difficulty\r\n3,0\r\n1, -1\r\n0,0.5\r\n\r\n2,3e4\r\n",
    "plain.txt": "0.5\n-1\n3e4\n0",
}


@pytest.mark.parametrize("name", [*FILES, "hard.npy"])
def test_numbers_of_a_file_follow_the_index(tmp_path: Path, name: str) -> None:
    if name in FILES:
        (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    else:
        np.save(tmp_path / name, np.array(HARD))
    difficulty = FromFile(str(tmp_path / name))
    for samples in (Samples(torch.tensor([2, 0])), Samples(torch.tensor([2, 0]), total=4)):
        difficulty.begin(samples)
        assert difficulty.values.tolist() == [HARD[2], HARD[0]]
    with pytest.raises(UserError, match="holds 4 numbers, and the whole training set has 5 samples"):
        difficulty.begin(Samples(torch.tensor([2, 0]), total=5))
    with pytest.raises(UserError, match="holds 4 numbers, and the whole training set has a sample 4"):
        difficulty.begin(Samples(torch.tensor([2, 4])))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("difficulty\n", "is empty"),
        ("0.1\nhard\n", "number 1 is hard"),
        ("0.1\ninf\n", "number 1 is inf"),
        ("0.1\n1e300\n", "number 1 is 1e300; give finite ones, in float32"),
        ('0.1\n""\n', "number 1 is empty"),
        ("0.1,0.2,0.3\n", "line 1 has 3 columns"),
        ("0,0.1\n1\n", "line 2 has 1 columns"),
        ("0,0.1\n0,0.2\n", "has index 0 twice"),
        ("0,0.1\n2,0.2\n", "no number for index 1"),
        ("0,0.1\n-1,0.2\n", "row 1 has the index -1"),
    ],
)
def test_a_file_that_does_not_say_one_number_of_each_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(UserError, match=words) as error:
        FromFile(str(tmp_path / "bad.csv"))
    assert str(error.value).startswith(f"curriculum.difficulty.path={tmp_path / 'bad.csv'}: ")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.tensor([0.1, math.nan]), "attribute difficulty: sample 1 is nan; give one finite number"),
        (torch.tensor([1e300, 0.1], dtype=torch.float64), "attribute difficulty: sample 0 is inf"),
        (torch.rand(2, 1), r"attribute difficulty: its values have shape \(2, 1\)"),
    ],
)
def test_a_data_set_gives_one_finite_number_of_each(given: Tensor, words: str) -> None:
    with pytest.raises(UserError, match=words):
        FromData().begin(Samples(torch.arange(2), difficulty=given))


def paced(order: SampleOrder | None = None, pace: Pace | None = None) -> Curriculum:
    curriculum = Paced(FromData(), order or EasyFirst(), pace or Linear(start=1 / 3, full_at=1.0))
    curriculum.begin(SAMPLES)
    return curriculum


@pytest.mark.parametrize(("fraction", "in_use"), [(0.0, 3), (0.5, 6), (1.0, 9)])
def test_an_epoch_is_as_long_as_ever_and_holds_the_share_in_use(fraction: float, in_use: int) -> None:
    curriculum = paced()
    curriculum.progress = Progress(fraction=fraction)
    drawn = curriculum.draw(4, 9).tolist()
    assert len(drawn) == 9
    assert {*drawn} == {*DIFFICULTY.argsort()[:in_use].tolist()}
    counts = [drawn.count(one) for one in {*drawn}]
    assert max(counts) - min(counts) <= 1


OPTIONS = (*SHORT[1:], "teacher.model=digits_cnn_8", "scratch=false", "trainer.max_epochs=4", "curriculum=paced")
CHOICES = {
    "from easy to hard": (),
    "from hard to easy": ("curriculum/order=hard_first", "curriculum/pace=root", "curriculum.order.stratified=true"),
    "at random": ("curriculum/order=random", "curriculum/pace=step"),
    "by what is forgotten": ("curriculum/difficulty=flips", "curriculum/pace=baby_steps"),
    "by the teacher's loss": ("curriculum/difficulty=teacher_loss",),
    "by the teacher's margin, cached": ("curriculum/difficulty=teacher_margin", "teacher.cache=prefill"),
    "by disagreement, cached": ("curriculum/difficulty=disagreement", "teacher.cache=logits"),
}
CRASH = "+callbacks.power_cut={_target_: tests.runs.test_resume.PowerCut}"


@pytest.mark.parametrize("name", CHOICES)
def test_a_run_is_taken_up_exactly_within_an_epoch(command: Command, name: str) -> None:
    folder = command("kd-train", *OPTIONS, *CHOICES[name], "hydra.run.dir=whole").folder
    with pytest.raises(OSError, match="no power"):
        command("kd-train", *OPTIONS, *CHOICES[name], "hydra.run.dir=cut", CRASH)
    resumed = command("kd-train", *OPTIONS, *CHOICES[name], "hydra.run.dir=cut")
    assert resumed.code == 0, resumed.errors
    whole, cut = (load_file(folder / name / "student.safetensors") for name in ("whole", "cut"))
    for key, value in whole.items():
        torch.testing.assert_close(cut[key], value, rtol=0, atol=0)
    told, of_cut = ((folder / name / CURRICULUM).read_bytes() for name in ("whole", "cut"))
    assert told == of_cut
    logged = [row["curriculum/share"] for row in read_rows(folder / "cut" / METRICS) if row["curriculum/share"]]
    assert [*map(float, logged)] == pytest.approx([one["values"]["share"] for one in json.loads(told)["epochs"]])


def test_curricula_take_part_in_a_sweep(command: Command) -> None:
    short = ("trainer.max_epochs=1", *OPTIONS[2:])
    orders = "curriculum/order=easy_first,random"
    outcome = command("kd-train", "-m", *OPTIONS, *short, orders, "curriculum.pace.start=0.3,0.5", "hydra.sweep.dir=s")
    assert outcome.code == 0, outcome.errors
    assert len([json.loads(file.read_text()) for file in (outcome.folder / "s").glob("*/summary.json")]) == 4
    assert "is not known, for it has fewer than two seeds in common with the random order" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("curriculum.pace.start=0",), ("curriculum", "start=0")),
        (("curriculum/pace=root", "curriculum.pace.power=-1"), ("power=-1",)),
        (("curriculum/difficulty=file", "curriculum.difficulty.path=none.npy"), ("none.npy", "No such file")),
        (("curriculum/difficulty=file", "curriculum.difficulty.path=nan.csv"), ("nan.csv", "number 1 is nan")),
        (
            ("curriculum/difficulty=file", "curriculum.difficulty.path=few.csv"),
            ("holds 2 numbers", "899 samples"),
        ),
        (("curriculum/difficulty=data",), ("difficulty",)),
        (("curriculum/pace=lineal",), ("curriculum/pace=lineal", "linear")),
        (("curriculum.pace.strat=0.1",), ("strat",)),
        (("teacher.cache=prefill",), ("teacher.cache=prefill", "Paced draws depends", "curriculum=null")),
    ],
)
def test_bad_values_are_told_in_a_line(command: Command, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    Path("nan.csv").write_text("0.1\nnan\n")
    Path("few.csv").write_text("0.1\n0.2\n")
    outcome = command("kd-train", *OPTIONS, *arguments, "hydra.run.dir=run")
    assert outcome.code == 2, outcome.output
    [line] = outcome.error_lines
    assert all(word in line for word in words), line
