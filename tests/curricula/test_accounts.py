"""What a curriculum tells of each epoch: kept, logged, taken up again, and refused where it is no account."""

import json
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.utils.data import DataLoader

from kd_lightning.curricula import Account, Curriculum, EasyFirst, FromData, Linear, Paced, Samples, StudentLoss
from kd_lightning.curricula.accounts import Accounts, CurriculumFile
from kd_lightning.errors import UserError
from kd_lightning.schedules import Progress
from tests.curricula.test_following import CLASSES, Fixed, Numbered, module, shuffled
from tests.curricula.walking import Walking


class Logged(Callback):
    """Notes what is logged of the curriculum after each epoch."""

    def __init__(self) -> None:
        self.share: list[float] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.share.append(float(trainer.callback_metrics["curriculum/share"]))


def walked(folder: Path, ckpt: Path | None = None, epochs: int = 4) -> tuple[dict[str, Any], list[float]]:
    """What a training tells in curriculum.json, and the shares that it logged."""
    student, logged = module(Walking()), Logged()
    assert student.followed is not None
    kept = [
        ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1),
        ModelCheckpoint(folder / "ends", save_on_train_epoch_end=True),
    ]
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[*kept, CurriculumFile(folder / "told" / "curriculum.json", student.followed.accounts), logged],
    )  # fmt: skip
    loaders = DataLoader(Numbered(), 4, shuffle=True), DataLoader(Numbered(12), 4)
    trainer.fit(student, *loaders, ckpt_path=ckpt, weights_only=True)
    return json.loads((folder / "told" / "curriculum.json").read_text()), logged.share


def test_each_epoch_is_told_and_goes_on_in_a_training_that_is_taken_up(tmp_path: Path) -> None:
    whole, shares = walked(tmp_path / "whole")
    assert shares == pytest.approx([1 / 3, 2 / 3, 1, 1])
    names = [f"class {one}" for one in range(CLASSES)]
    assert [one["teaches"] for one in whole["epochs"]] == [names[:1], names[:2], names, names]
    assert [one["epoch"] for one in whole["epochs"]] == [0, 1, 2, 3]
    assert whole["epochs"][1]["decisions"] == ["class 1 is opened, for class 0 was taught for an epoch"]
    assert [len(one["decisions"]) for one in whole["epochs"]] == [1, 1, 1, 0]
    assert all({*one["concepts"]} == {*names} for one in whole["epochs"])  # as validated at the epoch's own end
    assert [edge["target"] for edge in whole["graph"]["edges"]] == names[1:]
    for step in (1, 5):  # in the first epoch, and in the second
        [saved] = (tmp_path / "whole").glob(f"*step={step}.ckpt")
        assert walked(tmp_path / f"cut{step}", saved)[0] == whole
    [last] = (tmp_path / "whole" / "ends").iterdir()
    assert walked(tmp_path / "over", last)[0] == whole  # killed before the file was written


def test_the_same_module_tells_anew_of_each_training() -> None:
    student = module(Walking())
    assert student.followed is not None
    for epochs in (3, 1):
        lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            enable_checkpointing=False, limit_val_batches=0,
        ).fit(student, shuffled())  # fmt: skip
        assert [*student.followed.accounts.epochs] == [*range(epochs)]


def test_paced_tells_the_share_in_use_and_its_mean_difficulty() -> None:
    curriculum = Paced(FromData(), EasyFirst(), Linear(start=0.5, full_at=1.0))
    curriculum.begin(Samples(torch.arange(4), difficulty=torch.tensor([3.0, 1.0, 2.0, 0.0])))
    for fraction, share, difficulty in ((0.0, 0.5, 0.5), (0.5, 0.75, 1.0), (1.0, 1.0, 1.5)):
        curriculum.progress = Progress(fraction=fraction)
        curriculum.draw(0, 4)
        assert curriculum.account() == Account({"share": share, "difficulty": difficulty})


def test_paced_tells_the_difficulty_of_what_has_been_seen() -> None:
    curriculum = Paced(StudentLoss(), EasyFirst(), Linear(start=0.5, full_at=1.0))
    curriculum.begin(Samples(torch.arange(4)))
    curriculum.draw(0, 4)
    assert curriculum.account() == Account({"share": 0.5})
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    curriculum.observe(torch.tensor([0, 3]), {"student.logits": logits, "target": torch.tensor([0, 0])})
    curriculum.progress = Progress(fraction=1.0)
    curriculum.draw(1, 4)
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 0]))  # of two of the four
    assert curriculum.account().values["difficulty"] == pytest.approx(float(expected))


class Telling(Fixed):
    def __init__(self, told: Any = None, graph: Any = None) -> None:
        super().__init__(torch.arange(8))
        self.told, self.known = told or Account(), graph

    def account(self) -> Any:
        return self.told

    def graph(self) -> Any:
        return self.known


@pytest.mark.parametrize(
    ("curriculum", "words"),
    [
        (Telling({"share": 1.0}), "account of epoch 0 is dict; give a"),
        (Telling(Account({"share": "all"})), "values.share='all'; give a number"),  # type: ignore[dict-item]
        (Telling(Account(concepts={"cat": None})), "concepts.cat=None; give a number"),  # type: ignore[dict-item]
        (Telling(graph={"nodes": [{"id": "cat"}]}), "its graph cannot be read .has no edges"),
        (Telling(graph={"nodes": [], "edges": [{"source": "a", "target": "b"}]}), "which is no node"),
        (Telling(graph={"nodes": [{"id": object()}], "edges": []}), "not JSON serializable"),
    ],
)
def test_what_is_no_account_or_graph_is_told_in_a_line(curriculum: Curriculum, words: str) -> None:
    student = module(curriculum)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    with pytest.raises(UserError, match=words) as error:
        trainer.fit(student, shuffled())
    assert str(error.value).startswith("curriculum=Telling: ")


def test_accounts_are_plain_whatever_they_were_given() -> None:
    accounts = Accounts("Own")
    accounts.tell(0, Account({"share": torch.tensor(0.5)}, teaches=("cat",)))  # type: ignore[dict-item]
    again = Accounts("Own")
    again.load_state_dict(accounts.state_dict())
    assert again.record() == accounts.record()
    assert accounts.record()["epochs"][0]["values"] == {"share": 0.5}
