"""What learners and teachers may be called, and what they are by that name."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lightning import DistillationModule, Term
from kd_lightning.callbacks import SeededBatches
from kd_lightning.curricula import Curriculum
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy, FitNet, MeanSquaredLogits, SoftTarget
from kd_lightning.models.projectors import Regressor
from kd_lightning.sources import FrozenNetwork
from tests.module.test_module import EXAMPLE, IMAGES, KD, TAPS, TARGETS, loader, network, trainer

BATCH = {"input": IMAGES, "target": TARGETS}
MUTUAL = {
    "mutual": Term(MeanSquaredLogits(), ["student.logits", "peers.logits"]),
    "hint": Term(FitNet(), ["student.hint", "peers.hint"], 1.0, partial(Regressor)),
}


def one_of_each(by_name: bool) -> DistillationModule:
    torch.manual_seed(1)
    student: Any = network(2)
    teacher: Any = FrozenNetwork(network(4), TAPS)
    given = ({"student": student}, {"teacher": teacher}) if by_name else (student, teacher)
    return DistillationModule(
        *given,
        {**KD, "hint": Term(FitNet(), ["student.hint", "teacher.hint"], 1.0, Regressor)},
        student_taps=TAPS,
        example_input=EXAMPLE,
        num_classes=3,
    )


def test_a_mapping_of_one_is_the_same_as_that_one(tmp_path: Path) -> None:
    plain, named = one_of_each(False), one_of_each(True)
    assert named.teacher is named.sources["teacher"]
    shown = []
    for module in (plain, named):
        run = trainer(tmp_path, callbacks=[SeededBatches(1)], max_epochs=1)
        run.fit(module, loader(IMAGES, TARGETS), loader(IMAGES, TARGETS))
        run.test(module, loader(IMAGES, TARGETS), verbose=False)
        shown.append(run.callback_metrics)
    assert shown[0].keys() == shown[1].keys()
    assert all(torch.equal(value, shown[1][name]) for name, value in shown[0].items())
    assert list(plain.state_dict()) == list(named.state_dict())
    assert all(torch.equal(value, named.state_dict()[name]) for name, value in plain.state_dict().items())


@pytest.mark.parametrize("names", [("student", "teacher"), ("teacher", "student")])
def test_a_learner_may_be_named_as_terms_call_their_own(names: tuple[str, str]) -> None:
    """`student` in each one's terms is itself, and `peers` the other, whoever is called what, in whichever order."""
    torch.manual_seed(1)
    networks = {"student": network(2), "teacher": network(4)}
    module = DistillationModule(
        {name: networks[name] for name in names}, terms=MUTUAL, student_taps=TAPS, example_input=EXAMPLE
    ).eval()
    values = module.losses((module.signals(BATCH), {}))
    student, teacher = (networks[name].eval()(IMAGES) for name in ("student", "teacher"))
    for name in names:
        expected = (student - teacher).square().mean()
        torch.testing.assert_close(values[name].raw["mutual"], expected)
        assert values[name].raw["hint"].detach() > 0
    values["teacher"].total.backward()
    assert all(weight.grad is None for weight in networks["student"].parameters())
    assert any(weight.grad is not None for weight in networks["teacher"].parameters())


def test_a_tap_that_a_peer_lacks_is_told_with_where_it_is_added() -> None:
    given = {"teacher": network(2), "student": network(2)}
    taps: Any = {"teacher": TAPS, "student": {"other": "1"}}
    terms = {"teacher": {"hint": Term(MeanSquaredLogits(), ["student.logits", "peers.hint"])}, "student": KD_ALONE}
    with pytest.raises(UserError, match=r"terms\.teacher\.hint\.signals=peers\.hint: .*student_taps\.student"):
        DistillationModule(given, terms=terms, student_taps=taps)


KD_ALONE = {"ce": Term(CrossEntropy(), ["student.logits", "target"])}


class Blocks(nn.ModuleDict):
    """A network that is a mapping of its own parts."""

    def __init__(self) -> None:
        super().__init__({"flat": nn.Flatten(), "head": nn.Linear(64, 3)})

    def forward(self, images: Tensor) -> Tensor:
        head: Tensor = self["head"](self["flat"](images))
        return head


def test_a_network_that_is_a_mapping_of_its_parts_is_one_network(tmp_path: Path) -> None:
    module = DistillationModule(Blocks(), Blocks(), KD)
    trainer(tmp_path, max_epochs=1).fit(module, loader(IMAGES, TARGETS))
    assert module.learners == ["student"]
    both = DistillationModule(nn.ModuleDict({"one": Blocks(), "two": Blocks()}), terms=KD_ALONE)
    assert both.learners == ["one", "two"]


class Watching(Curriculum):
    def __init__(self, name: str) -> None:
        self.observes = (name,)

    def draw(self, epoch: int, count: int) -> Tensor:
        return torch.arange(count)

    def observe(self, index: Tensor, signals: Any) -> None:
        self.seen = signals

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: Any) -> None:
        pass


@pytest.mark.parametrize("observed", ["student", "one"])
def test_a_curriculum_observes_who_has_the_name(tmp_path: Path, observed: str) -> None:
    given = {"one": network(2), "student": network(4)}
    curriculum = Watching(f"{observed}.hint")
    module = DistillationModule(given, terms=KD_ALONE, student_taps=TAPS, curriculum=curriculum)
    trainer(tmp_path, max_epochs=1).fit(module, loader(IMAGES, TARGETS))
    assert curriculum.seen[f"{observed}.hint"].shape[1] == {"one": 4, "student": 8}[observed]


@pytest.mark.parametrize(("faulty", "unseen"), [("one", 1), ("two", 0)])
def test_a_curriculum_sees_the_steps_of_whom_it_observes(tmp_path: Path, faulty: str, unseen: int) -> None:
    given = {"one": network(2), "two": network(4)}
    steps = iter([False, True])
    given[faulty].register_forward_hook(lambda _, x, logits: logits * (float("nan") if next(steps, False) else 1.0))
    seen = []

    class Counting(Watching):
        def observe(self, index: Tensor, signals: Any) -> None:
            seen.append(index)

    curriculum = Counting("student.logits")
    module = DistillationModule(given, terms=KD_ALONE, curriculum=curriculum, on_nonfinite="skip")
    batches = loader(IMAGES, TARGETS)
    trainer(tmp_path, max_epochs=2).fit(module, batches)
    assert module.finite.skipped_of == {faulty: 1}
    assert len(seen) == 2 * len(batches) - unseen


def test_a_curriculum_knows_no_peers() -> None:
    given = {"one": network(2), "two": network(4)}
    with pytest.raises(UserError, match=r"curriculum\.observes=peers\.logits: .*name a learner"):
        DistillationModule(given, terms=KD_ALONE, curriculum=Watching("peers.logits"))


def test_a_module_that_was_trained_can_be_copied(tmp_path: Path) -> None:
    terms = {"kd": Term(SoftTarget(4), ["student.logits", "peers.logits"])}
    module = DistillationModule({"one": network(2), "two": network(4)}, terms=terms)
    trainer(tmp_path, max_epochs=1).fit(module, loader(IMAGES, TARGETS))
    twin = copy.deepcopy(module)
    trainer(tmp_path, max_epochs=1).fit(twin, loader(IMAGES, TARGETS))
    assert not torch.equal(twin.network_of("two")[-1].weight, module.network_of("two")[-1].weight)


def test_peers_teach_on_another_stream_and_another_input() -> None:
    """As co-training has it: each learns of its peer's answers to what has no label, seen in another way."""
    torch.manual_seed(1)
    networks = {"one": network(2), "two": network(4)}
    follow = MeanSquaredLogits()
    terms = {
        **KD_ALONE,
        "peers": Term(follow, ["student@strong.logits", "peers.logits"], stream="unlabelled"),
        "other": Term(follow, ["two.logits", "one@strong.logits"], stream="unlabelled"),
    }
    strong = IMAGES.flip(3)
    streams = {"unlabelled": {"input": IMAGES.flip(0), "input_strong": strong}, "labelled": BATCH}
    module = DistillationModule(networks, terms=terms, example_input=streams).eval()
    values = module.losses(module.example_signals(streams))
    for name, peer in (("one", "two"), ("two", "one")):
        expected = (networks[name](strong) - networks[peer](IMAGES.flip(0))).square().mean()
        torch.testing.assert_close(values[name].raw["peers"], expected)
        expected = (networks["two"](IMAGES.flip(0)) - networks["one"](strong)).square().mean()
        torch.testing.assert_close(values[name].raw["other"], expected)
        expected = nn.functional.cross_entropy(networks[name](IMAGES), TARGETS)
        torch.testing.assert_close(values[name].raw["ce"], expected)
    values["one"].total.backward()
    assert all(weight.grad is None for weight in networks["two"].parameters())
