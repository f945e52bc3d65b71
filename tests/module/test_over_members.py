"""Terms over the members of an ensemble, in which these weigh by entropy, confidence or gradients."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.learners.over_members import OverMembers
from kd_lightning.losses import AttentionTransfer, CrossEntropy, SimilarityPreserving, SoftTarget
from kd_lightning.losses.functional import confidence_weights, entropy_weights, kd
from kd_lightning.losses.sample_weights import Entropy
from kd_lightning.schedules import Linear, Progress
from kd_lightning.sources import Ensemble, FrozenNetwork
from kd_lightning.tasks import TokenClassification

INPUTS = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
BATCH = {"input": INPUTS, "target": torch.tensor([0, 1, 2, 3, 4, -1]), "index": torch.arange(6)}


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))


MEMBERS = [network(seed) for seed in (1, 2, 3)]


def module(combine: str, terms: dict[str, Term] | None = None, tolerance: float = 0.6) -> DistillationModule:
    members = [FrozenNetwork(one, {"stage1": "1"}) for one in MEMBERS]
    terms = terms or {"kd": Term(SoftTarget(temperature=4.0), ["student.logits", "teacher.logits"])}
    student = network(0)
    made = DistillationModule(student, Ensemble(members, combine, tolerance), terms, student_taps={"stage1": "1"})
    return made.train()


def loss_of(made: DistillationModule) -> Tensor:
    return made.objective(made.signals(dict(BATCH))).total


def logits_of(made: DistillationModule) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        teachers = torch.stack([member(INPUTS) for member in MEMBERS])
    return made.network_of("student")(INPUTS), teachers


def gradients(value: Tensor, made: DistillationModule) -> list[Tensor]:
    return list(torch.autograd.grad(value, list(made.student.parameters())))


@pytest.mark.parametrize("combine", ["entropy", "confidence"])
def test_each_sample_weighs_its_members(combine: str) -> None:
    made = module(combine)
    student, teachers = logits_of(made)
    weights = entropy_weights(teachers) if combine == "entropy" else confidence_weights(teachers, BATCH["target"])
    each = torch.stack([kd(student, one, 4.0, reduction="none") for one in teachers])
    expected = (weights * each).sum(dim=0).mean()
    value = loss_of(made)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients(value, made), gradients(expected, made))
    assert not torch.allclose(value, each.mean(), rtol=1e-3), "they do weigh"


def test_a_batch_weighs_its_members_by_their_gradients() -> None:
    made = module("gradient", tolerance=1.0)
    student, teachers = logits_of(made)
    values = torch.stack([kd(student, one, 4.0) for one in teachers])
    slopes = torch.stack([4 * (torch.softmax(student / 4, 1) - torch.softmax(one / 4, 1)).mean(0) for one in teachers])
    value = loss_of(made)
    grid = [torch.tensor([a, b, 200 - a - b]) / 200 for a in range(201) for b in range(201 - a)]
    shortest = min(grid, key=lambda w: float((w @ slopes.detach()).square().sum()))
    torch.testing.assert_close(value, (shortest * values).sum(), rtol=0.01, atol=0.001)
    term = dict(made.objective.items())["kd"]
    assert isinstance(term, OverMembers)
    found = term.weights_of_batch(values, {**made.signals(dict(BATCH)), "student.logits": student})
    assert not found.requires_grad
    torch.testing.assert_close(gradients(value, made), gradients((found * values).sum(), made))


def test_a_sample_counts_what_it_counts_by_itself_too() -> None:
    own = Entropy("student.logits")
    made = module("confidence", {"kd": Term(SoftTarget(), ["student.logits", "teacher.logits"], sample_weight=own)})
    student, teachers = logits_of(made)
    each = torch.stack([kd(student, one, 4.0, reduction="none") for one in teachers])
    weights = confidence_weights(teachers, BATCH["target"]) * own({"student.logits": student}).detach()
    torch.testing.assert_close(loss_of(made), (weights * each).sum(dim=0).mean())


class Scaled(nn.Module):
    """Sample weights that are a module: their numbers move with it, and stand in checkpoints."""

    signals = ("student.logits",)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(3.0))

    def forward(self, signals: Mapping[str, Tensor]) -> Tensor:
        scale = self.get_buffer("scale")
        return scale * Entropy("student.logits")(signals)


def test_what_a_sample_counts_may_be_a_module_or_follow_a_schedule() -> None:
    signals = ["student.logits", "teacher.logits"]
    terms = {"kd": Term(SoftTarget(), signals, sample_weight=Entropy("student.logits"))}
    plain = loss_of(module("confidence", terms))
    scaled = module("confidence", {"kd": Term(SoftTarget(), signals, sample_weight=Scaled())})
    torch.testing.assert_close(loss_of(scaled), 3 * plain)
    assert sum(name.endswith(".scale") for name in scaled.objective.state_dict()) == len(MEMBERS)
    falling = Entropy("student.logits", temperature=Linear(start=4.0, end=1.0))
    followed = module("confidence", {"kd": Term(SoftTarget(), signals, sample_weight=falling)})
    torch.testing.assert_close(loss_of(followed), plain)  # 4, as it begins
    end = followed.objective(followed.signals(dict(BATCH)), Progress(epoch=9.0, fraction=1.0)).total
    assert not torch.allclose(end, plain, rtol=1e-3)
    assert isinstance(falling.temperature, Linear)


def test_a_features_term_is_over_the_members_too() -> None:
    made = module("entropy", {"at": Term(AttentionTransfer(), [["student.stage1"], ["teacher.stage1"]])})
    assert set(made.objective.names()) == {
        "student.stage1",
        *(f"teacher.{member}.{tap}" for member in range(3) for tap in ("stage1", "logits")),
    }
    student, teachers = made.network_of("student")[:2](INPUTS), torch.stack([one[:2](INPUTS) for one in MEMBERS])
    each = torch.stack([AttentionTransfer()([student], [one], reduction="none") for one in teachers])
    torch.testing.assert_close(loss_of(made), (entropy_weights(logits_of(made)[1]) * each).sum(dim=0).mean())


def test_terms_of_one_member_stay_as_they_are() -> None:
    terms = {"kd": Term(SoftTarget(), ["student.logits", "teacher.1.logits"])}
    made = module("confidence", terms)
    student, teachers = logits_of(made)
    torch.testing.assert_close(loss_of(made), kd(student, teachers[1], 4.0))


def test_without_a_gradient_all_weigh_alike() -> None:
    made = module("gradient")
    with torch.no_grad():
        student, teachers = logits_of(made)
        torch.testing.assert_close(loss_of(made), torch.stack([kd(student, one, 4.0) for one in teachers]).mean())


def test_the_ensemble_itself_is_combined_as_said() -> None:
    _, teachers = logits_of(module("entropy"))
    members = [FrozenNetwork(one) for one in MEMBERS]
    mean, p = teachers.mean(dim=0), teachers.softmax(dim=2).mean(dim=0)
    torch.testing.assert_close(Ensemble(members, "entropy")(BATCH)["logits"], mean)
    torch.testing.assert_close(Ensemble(members, "mean_probabilities")(BATCH)["logits"].softmax(dim=1), p)
    weighed = Ensemble(members, [1, 0, 3])(BATCH)["logits"]
    torch.testing.assert_close(weighed, (teachers[0] + 3 * teachers[2]) / 4)
    assert Ensemble(members).identity() != Ensemble(members, "mean_probabilities").identity()


def test_a_loss_of_relations_has_no_samples_to_weigh() -> None:
    terms = {
        "ce": Term(CrossEntropy(), ["student.logits", "target"]),
        "sp": Term(SimilarityPreserving(), ["student.stage1", "teacher.stage1"]),
    }
    with pytest.raises(UserError, match=r"^terms\.sp: teacher\.combine=entropy: weighs each sample, and Similarity"):
        module("entropy", terms)
    assert loss_of(module("gradient", terms)).isfinite()


@pytest.mark.parametrize(
    ("combine", "words"),
    [
        ("mean_logit", "combine=mean_logit: did you mean mean_logits"),
        ([1, 2], r"combine=\[1, 2\]: there are 3 members; give as many numbers"),
        ([0, 0, 0], r"combine=\[0, 0, 0\]: there are 3 members"),
        ([1, -1, 1], r"combine=\[1, -1, 1\]: there are 3 members"),
        (None, "combine=None: there are 3 members"),
    ],
)
def test_what_is_no_combination_is_refused(combine: object, words: str) -> None:
    with pytest.raises(UserError, match=f"^{words}"):
        Ensemble([FrozenNetwork(one) for one in MEMBERS], combine)  # type: ignore[arg-type]


class Tagger(nn.Module):
    """Tokens (B, T) to logits (B, T, C)."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed, self.head = nn.Embedding(20, 8), nn.Linear(8, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embed(tokens))
        return logits


@pytest.mark.parametrize("combine", ["entropy", "confidence", "gradient"])
def test_each_token_weighs_its_members(combine: str) -> None:
    tokens = torch.arange(12).reshape(3, 4)
    target = torch.tensor([[0, 1, -100, 3], [1, 1, 2, -100], [0, -100, -100, 2]])
    student, members = Tagger(0), [Tagger(1), Tagger(2)]
    terms = {"kd": Term(SoftTarget(), ["student.logits", "teacher.logits"])}
    made = DistillationModule(student, Ensemble(members, combine), terms, task=TokenClassification(4)).train()
    batch = made.task.before_transfer({"input": tokens, "target": target})
    counts = target >= 0
    rows, teachers = student(tokens)[counts], torch.stack([one(tokens)[counts] for one in members]).detach()
    each = torch.stack([kd(rows, one, 4.0, reduction="none") for one in teachers])
    value = made.objective(made.signals(batch)).total
    if combine == "gradient":
        assert each.mean(dim=1).amin() <= value <= each.mean(dim=1).amax()
        return
    weights = entropy_weights(teachers) if combine == "entropy" else confidence_weights(teachers, target[counts])
    torch.testing.assert_close(value, (weights * each).sum(dim=0).mean())
