"""What a training needs of its data: the named inputs of a batch, an example, what they are."""

import copy
from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, Protocol, runtime_checkable

import lightning
from torch import Tensor
from typing_extensions import Self

from kd_lightning.batch import Batch, Input, as_batch
from kd_lightning.data.evaluation import EvaluationTransform

Shape = tuple[int, ...]


@runtime_checkable
class Data(Protocol):
    """A data module that says what it gives; see `DataModule` for what follows from it."""

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The named inputs of a batch, each with its shape without the batch, or a mapping of such shapes."""

    def example(self) -> Batch:
        """A batch for tracing and checks, of two samples or more; nothing of the data is consumed for it."""

    def fingerprint(self) -> dict[str, Any]:
        """What decides the data, as JSON has it."""


class DataModule(lightning.LightningDataModule):
    """A data module as the commands work with it: `Data`, and what follows from it.

    `ImageDataModule` is one, and any `LightningDataModule` is made one by `as_data_module`.
    """

    name: str
    batch_size: int
    batches_over: int = 0  # of the next epoch, where a training is taken up within it

    @property
    @abstractmethod
    def inputs(self) -> Mapping[str, Any]:
        """The named inputs of a batch, each with its shape without the batch, or a mapping of such shapes."""

    @abstractmethod
    def example(self) -> Batch:
        """A batch for tracing and checks, of two samples or more; nothing of the data is consumed for it."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """What decides which samples a network is trained and tested on, as JSON has it."""

    @property
    def streams(self) -> Mapping[str, Batch]:
        """An example of each stream of training data, by name; empty where there is one alone, without a name."""
        return {}

    @property
    @abstractmethod
    def class_names(self) -> list[str] | None:
        """The classes in the order of their labels; None where nobody says."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """How many classes there are. Raises UserError where nobody says."""

    @property
    @abstractmethod
    def validates_on(self) -> str:
        """ "test" where selection sees the test set, as in published tables, else "validation"; "none" without any."""

    @abstractmethod
    def sizes(self) -> dict[str, int | None]:
        """How many samples `train`, `val` and `test` have, as far as they are known."""

    @property
    def undecided(self) -> str | None:
        """Why the fingerprint does not decide what the data are, so that nothing is kept for other runs; else None."""
        return None

    def check(self) -> None:
        """Raise UserError on values that cannot work."""

    def setup(self, stage: str | None = None) -> None:
        """Read the data, once; all of them where no stage is given."""

    def order(self) -> dict[str, Any]:
        """What decides the order of the training samples, beside the size of their batches, as JSON has it."""
        return {}

    def statistics(self) -> dict[str, list[float]]:
        """`mean` and `std` of images by channel, with which networks normalise them; or nothing."""
        return {}

    @property
    def evaluation_transform(self) -> EvaluationTransform | None:
        """What evaluation shows a network of an image file; None where the data do not come from image files."""
        return None

    def training_set(self) -> dict[str, Tensor]:
        """`index` and `target`, both (N,), of all training samples, for losses with a memory of them; or nothing."""
        return {}

    def check_views(self, views: Collection[str]) -> None:
        """Raise UserError for further views of the training samples, such as `second`, that cannot be given."""

    def with_views(self, views: Collection[str]) -> Self:
        """The same samples, of which a training takes these views beside the first, and no others.

        Those of the user's own class come as its loader gives them.
        """
        return self

    def in_batches_of(self, size: int) -> Self:
        """The same data in other batches, for another number of devices."""
        data = copy.copy(self)
        data.batch_size = size
        return data

    def in_this_process(self) -> Self:
        """The same data with loaders of this process's own, which leave nothing on a device."""
        return copy.copy(self)


def example_input(data: DataModule) -> Input:
    """What a network is given of an example."""
    found: Input = as_batch(data.example())["input"]
    return found
