"""Data modules that know nothing of this package: what they do not say is derived from their loaders."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from kd_lightning.data import DigitsDataModule
from kd_lightning.data.data import Data, DataModule
from kd_lightning.data.derived.module import as_data_module
from kd_lightning.errors import UserError


class Table(lightning.LightningDataModule):
    """Rows of numbers, whose `setup` takes a stage and whose loader draws from a generator of its own."""

    def __init__(self, rows: int = 40, shift: float = 0.0, workers: int = 0, file: str | None = None) -> None:
        super().__init__()
        self.rows, self.shift, self.workers = rows, shift, workers
        self.generator = torch.Generator().manual_seed(7)
        self.stages: list[str] = []

    def setup(self, stage: str) -> None:
        self.stages.append(stage)
        values = torch.linspace(0, 1, self.rows * 3).reshape(self.rows, 3) + self.shift
        self.table = TensorDataset(values, values.sum(1))

    def train_dataloader(self) -> Any:
        return DataLoader(
            self.table, 8, shuffle=True, generator=self.generator, num_workers=self.workers, persistent_workers=False
        )

    def val_dataloader(self) -> Any:
        return DataLoader(self.table, 16)

    def test_dataloader(self) -> Any:
        return DataLoader(self.table, 16)


class Words(Table):
    """Batches as Hugging Face has them."""

    def train_dataloader(self) -> Any:
        def collate(rows: list[int]) -> dict[str, Tensor]:
            ids = torch.tensor(rows)[:, None].expand(-1, 5)
            return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[:, 0] % 2}

        return DataLoader(range(12), 4, collate_fn=collate)  # type: ignore[arg-type]


class Streams(Table):
    """A stream with targets, which comes second, and one without."""

    def train_dataloader(self) -> Any:
        inputs = self.table.tensors[0]
        return {"unlabelled": DataLoader(TensorDataset(inputs), 6), "labelled": DataLoader(self.table, 4)}


def made(data: lightning.LightningDataModule, **arguments: Any) -> DataModule:
    return as_data_module(data, arguments)


def test_inputs_example_and_sizes_are_those_of_its_batches() -> None:
    data = made(Table())
    assert isinstance(data, Data)
    assert isinstance(data, Table), "it stays an object of its class"
    assert (data.name, dict(data.inputs), data.batch_size) == ("Table", {"input": (3,)}, 8)
    example = data.example()
    assert {name: tuple(value.shape) for name, value in example.items()} == {"input": (2, 3), "target": (2,)}
    torch.testing.assert_close(example["input"].sum(1), example["target"])
    assert data.sizes() == {"train": 40, "val": 40, "test": 40}
    assert data.validates_on == "validation"
    assert data.streams == {}
    assert data.stages == ["fit", "validate", "test"], "each stage once"  # type: ignore[attr-defined]


def test_inputs_may_be_mappings() -> None:
    data = made(Words())
    assert data.inputs == {"input": {"input_ids": (5,), "attention_mask": (5,)}}
    assert data.example()["input"]["input_ids"].shape == (2, 5)
    assert data.example()["target"].tolist() == [0, 1]


def test_streams_have_examples_and_the_one_with_targets_is_the_main_one() -> None:
    data = made(Streams())
    assert {name: sorted(example) for name, example in data.streams.items()} == {
        "unlabelled": ["input"],
        "labelled": ["input", "target"],
    }
    assert data.batch_size == 4
    assert sorted(data.example()) == ["input", "target"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_look_moves_nothing(workers: int) -> None:
    """The random numbers, the loader's generator, and what is given afterwards are as if nobody had looked."""
    untouched = Table()
    untouched.setup("fit")
    expected = [rows.tolist() for rows, _ in untouched.train_dataloader()]
    data = made(Table(workers=workers))
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
    data.example(), data.fingerprint()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # type: ignore[index]
    assert random.getstate() == states[2]
    assert [rows.tolist() for rows, _ in data.train_dataloader()] == expected  # type: ignore[attr-defined]
    assert data.train_dataloader().num_workers == workers  # type: ignore[attr-defined]


def test_what_it_says_by_itself_counts() -> None:
    class Says(Table):
        name = "heights"
        class_names = ["low", "high"]  # noqa: RUF012
        inputs: Mapping[str, Any] = {"input": (3,)}

        def __init__(self) -> None:
            super().__init__()
            self.batch_size = 5

        def fingerprint(self) -> dict[str, Any]:
            return {"version": 3}

        def example(self) -> dict[str, Any]:
            return {"input": torch.zeros(2, 3)}

        def prepare_data(self) -> None:
            raise AssertionError("nothing is read")

    data = made(Says())
    assert (data.name, data.num_classes, data.batch_size) == ("heights", 2, 5)
    assert data.fingerprint() == {"version": 3}
    assert data.undecided is None
    assert torch.equal(data.example()["input"], torch.zeros(2, 3))


def test_the_fingerprint_tells_other_data_apart(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("1,2\n")
    first = made(Table(), file=str(file)).fingerprint()
    assert made(Table(), file=str(file)).fingerprint() == first
    assert made(Table(), file=str(file)).undecided is None
    for other in (Table(shift=1e-6), Table(rows=41), Words()):
        assert made(other, file=str(file)).fingerprint() != first
    assert made(Table(), file=str(file), more=1).fingerprint() != first
    file.write_text("1,3\n")
    assert made(Table(), file=str(file)).fingerprint() != first


class Endless(IterableDataset[Tensor]):
    def __iter__(self) -> Any:
        return iter(torch.zeros(8, 3))


class Unsteady(Dataset[Tensor]):
    def __init__(self) -> None:
        self.reads = 0

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Tensor:
        self.reads += 1
        return torch.full((3,), float(self.reads))


@pytest.mark.parametrize(("held", "reason"), [(Endless(), "has no length"), (Unsteady(), "differ each time")])
def test_where_the_content_is_not_known_it_says_so(held: Any, reason: str) -> None:
    class Odd(Table):
        def train_dataloader(self) -> Any:
            return DataLoader(held, 4)

    assert reason in str(made(Odd()).undecided)


class Once(Table):
    def train_dataloader(self) -> Any:
        return iter(super().train_dataloader())


class Broken(Table):
    def setup(self, stage: str) -> None:
        raise KeyError("no column")


class Untested(lightning.LightningDataModule):
    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.zeros(4, 3)))


@pytest.mark.parametrize(
    ("data", "message"),
    [(Once(), "an iterator, which is over"), (Broken(), "cannot be read: KeyError: 'no column'")],
)
def test_what_cannot_be_read_is_one_line(data: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^data._target_=tests.data.test_derived.{type(data).__name__}: .*{message}"):
        made(data).example()


def test_what_has_nothing_to_test_with_is_one_line() -> None:
    with pytest.raises(UserError, match="has no test_dataloader"):
        made(Untested()).check()
    with pytest.raises(UserError, match="give it num_classes, or class_names"):
        _ = made(Untested()).num_classes


def test_targets_that_are_numbers_tell_how_many_there_are() -> None:
    assert made(Table()).num_classes == 1
    assert made(Table()).class_names is None
    with pytest.raises(UserError, match="give it num_classes, or class_names"):
        _ = made(Words()).num_classes


def test_a_packaged_data_module_stays_what_it_is() -> None:
    data = DigitsDataModule()
    assert as_data_module(data) is data
    assert type(data) is DigitsDataModule
    assert dict(data.inputs) == {"input": (1, 8, 8)}
    assert data.streams == {}
