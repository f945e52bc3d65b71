"""Several teachers as one: the mean of their logits, and each one's taps by its name."""

from pathlib import Path

import pytest
import torch
from torch import nn

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import AttentionTransfer, SoftTarget
from kd_lightning.sources import CachedSource, Ensemble, FrozenNetwork, MovingAverage
from kd_lightning.store import Answers, Whole

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
BATCH = {"input": IMAGES, "index": torch.tensor([2, 0, 3, 1]), "view": torch.tensor([0, 1, 0, 1])}


def network(seed: int, classes: int = 5) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, classes))


def test_its_logits_are_the_mean_of_its_members() -> None:
    members = [network(seed) for seed in range(3)]
    expected = torch.stack([member(IMAGES).detach() for member in members]).mean(0)
    torch.testing.assert_close(Ensemble(members)(BATCH)["logits"], expected)


def test_terms_take_the_taps_of_one_member() -> None:
    first, second = (FrozenNetwork(network(seed), {"stage1": "1"}) for seed in range(2))
    terms = {
        "kd": Term(SoftTarget(), ["student.logits", "teacher.logits"]),
        "attention": Term(AttentionTransfer(), [["student.stage1"], ["teacher.second.stage1"]]),
    }
    teacher = Ensemble({"first": first, "second": second})
    module = DistillationModule(network(7), teacher, terms, student_taps={"stage1": "1"})
    signals = module.signals(dict(BATCH))
    torch.testing.assert_close(signals["teacher.second.stage1"], second.network[:2](IMAGES).detach())
    assert "teacher.first.stage1" not in signals  # no term takes it
    module.objective(signals).total.backward()


def test_each_cached_member_knows_its_own_answers(tmp_path: Path) -> None:
    plain = [FrozenNetwork(network(seed)) for seed in range(2)]
    answers = [Answers(tmp_path / f"{seed}.bin", 4, 2, Whole(5, 32)) for seed in range(2)]
    cached = Ensemble([CachedSource(one, kept) for one, kept in zip(plain, answers, strict=True)])
    expected = Ensemble(plain)(BATCH)["logits"]
    for _ in range(2):  # asked, then read
        batch = cached.before_transfer(dict(BATCH))
        torch.testing.assert_close(cached(batch)["logits"], expected)
    assert all(bool(kept.has(BATCH["index"], BATCH["view"]).all()) for kept in answers)
    module = DistillationModule(network(7), cached, {"kd": Term(SoftTarget(), ["student.logits", "teacher.logits"])})
    assert not any(name.startswith("known") for name in module.signals(batch))


def test_members_of_other_classes_and_none_at_all_are_told() -> None:
    with pytest.raises(UserError, match=r"^members=\[\]: an ensemble has at least one"):
        Ensemble([])
    with pytest.raises(UserError, match=r"^members: give logits of \(4, [57]\) and \(4, [57]\)"):
        Ensemble([network(0), network(1, classes=7)])(BATCH)
    one = network(0)
    with pytest.raises(UserError, match=r"^members\.1=Sequential: is members\.0 itself; give another one"):
        Ensemble([one, one])
    with pytest.raises(UserError, match=r"^members\.average=MovingAverage: changes as it trains; give a frozen"):
        Ensemble({"net": one, "average": MovingAverage()})
    with pytest.raises(UserError, match=r"^members\.again=FrozenNetwork: is members\.net itself; give another one"):
        Ensemble({"net": one, "again": FrozenNetwork(one)})
    for name in ("a.b", "keys"):  # the first would be read as a tap, the second is a ModuleDict's own
        with pytest.raises(UserError, match=rf"^members\.{name}: cannot be a member's name; use letters"):
            Ensemble({name: one})
