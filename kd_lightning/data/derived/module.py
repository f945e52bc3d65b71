"""Data modules of the user's own: what they do not say of themselves is derived from their loaders."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from lightning import LightningDataModule
from torch import Tensor
from typing_extensions import Self

from kd_lightning.batch import INPUT, Batch, main_stream, shape_of, size_of
from kd_lightning.data.data import DataModule
from kd_lightning.data.derived.content import Content, of_arguments, of_code
from kd_lightning.data.derived.peek import as_example, first_batches
from kd_lightning.errors import UserError

PARTS = {"train": "train_dataloader", "val": "val_dataloader", "test": "test_dataloader"}
STAGES = ("fit", "validate", "test")


def as_data_module(given: LightningDataModule, arguments: Mapping[str, Any] | None = None) -> DataModule:
    """A data module as the commands work with it; one of the user's own class gets what that does not say by itself.

    `arguments` are those that it was made with, as plain values.
    """
    if isinstance(given, DataModule):
        return given
    kind = type(given)
    own = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    bases = (AllStages, DerivedDataModule) if kind is LightningDataModule else (AllStages, kind, DerivedDataModule)
    given.__class__ = type(kind.__name__, bases, own)
    assert isinstance(given, DerivedDataModule)
    given.own_class, given.arguments = kind, dict(arguments or {})
    return given


class AllStages(LightningDataModule):
    """Stands before a class of the user's own: where no stage is named all are set up, each once.

    What the module does with a batch before it is moved follows upon what the class does with it.
    """

    def setup(self, stage: str | None = None) -> None:
        done = vars(self).setdefault("_set_up", set())
        for one in STAGES if stage is None else (stage,):
            if stage is not None or one not in done:
                super().setup(one)
                done.add(one)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        batch = super().on_before_batch_transfer(batch, dataloader_idx)
        module = None if self.trainer is None else self.trainer.lightning_module
        return batch if module is None else module.on_before_batch_transfer(batch, dataloader_idx)


class DerivedDataModule(DataModule):
    """What follows from the loaders of a data module of the user's own, wherever that says nothing else."""

    own_class: type
    arguments: Mapping[str, Any]

    @property
    def key(self) -> str:
        """How an error line begins."""
        return f"data._target_={self.own_class.__module__}.{self.own_class.__qualname__}"

    @cached_property
    def name(self) -> str:  # type: ignore[override]
        return self.own_class.__name__

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        return {name: shape_of(value) for name, value in self.example().items() if name.startswith(INPUT)}

    def example(self) -> Batch:
        return as_example(self._first[main_stream(self._first)])

    @cached_property
    def streams(self) -> Mapping[str, Batch]:
        return {name: as_example(batch) for name, batch in self._first.items() if name}

    @cached_property
    def batch_size(self) -> int:  # type: ignore[override]
        return size_of(self._first[main_stream(self._first)])

    @cached_property
    def num_classes(self) -> int:
        names = getattr(self, "class_names", None)
        found = columns(self.example().get("target")) if names is None else len(names)
        if found is None:
            raise UserError(f"{self.key}: does not say how many classes there are; give it num_classes, or class_names")
        return found

    @cached_property
    def class_names(self) -> list[str] | None:
        return [str(label) for label in range(self.num_classes)] if self._says("num_classes") else None

    @cached_property
    def validates_on(self) -> str:
        return "validation" if self._says(PARTS["val"]) else "none"

    def check(self) -> None:
        """Raise UserError where there is no loader to train with, or none to test with."""
        for method in (PARTS["train"], PARTS["test"]):
            if not self._says(method):
                raise UserError(f"{self.key}: has no {method}; networks are trained, and compared by a test; give one")

    def in_batches_of(self, size: int) -> Self:
        """Raises UserError: how large its batches are is known to it alone."""
        raise UserError(
            f"trainer.devices: the run began with batches of {self.batch_size} on each device, and {self.name} makes "
            "them by itself; take it up again on as many devices"
        )

    def sizes(self) -> dict[str, int | None]:
        return {part: content.samples for part, content in self._content.items()}

    def fingerprint(self) -> dict[str, Any]:
        """Its class, its code, its arguments, and what its loaders hold."""
        names = self.class_names
        return {
            **({} if names is None else {"classes": list(names)}),
            "class": f"{self.own_class.__module__}.{self.own_class.__qualname__}",
            "code": of_code(self.own_class),
            "arguments": of_arguments(self.arguments),
            "content": {part: content.digest for part, content in self._content.items()},
        }

    @cached_property
    def undecided(self) -> str | None:
        if type(self).fingerprint is not DerivedDataModule.fingerprint:
            return None
        reasons = [f"{PARTS[part]}: {found.undecided}" for part, found in self._content.items() if found.undecided]
        return reasons[0] if reasons else None

    @cached_property
    def _first(self) -> dict[str, Batch]:
        """The first training batch of each stream, on the CPU; it is given again to whoever trains."""
        return first_batches(self, self.key)

    @cached_property
    def _content(self) -> dict[str, Content]:
        """What each part holds."""
        self.setup()
        loaders = {part: getattr(self, method)() for part, method in PARTS.items() if self._says(method)}
        return {part: Content.of(loader) for part, loader in loaders.items()}

    def _says(self, name: str) -> bool:
        """Whether the user's class, or the object of it, has this name by itself."""
        own = getattr(self.own_class, name, None)
        return name in vars(self) or (own is not None and own is not getattr(LightningDataModule, name, None))


def columns(target: Any) -> int | None:
    """How many numbers targets have for a sample, (B, K), or (B,) of one; None of whole numbers, which are classes."""
    if not isinstance(target, Tensor) or not target.is_floating_point() or target.ndim not in (1, 2):
        return None
    return 1 if target.ndim == 1 else target.shape[1]
