"""A frozen network of a teacher: trained first, once, or with weights from elsewhere."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lightning import seed_everything
from omegaconf import DictConfig
from torch import nn

from kd_lightning.batch import Input
from kd_lightning.data import DataModule
from kd_lightning.errors import UserError
from kd_lightning.experiment.config import plain
from kd_lightning.experiment.networks.network import Network
from kd_lightning.experiment.storage import networks
from kd_lightning.experiment.storage.answers import KeptAnswers
from kd_lightning.experiment.task import task_of
from kd_lightning.models import pretrained_num_classes
from kd_lightning.sources import CachedSource, FrozenNetwork
from kd_lightning.taps.resolving import resolve_taps
from kd_lightning.terminal import say

SEEDS = 2**32  # so many there are


@dataclass(frozen=True)
class Member(Network):
    """A network to learn from, alone or as one of several.

    `place` is where it stands among several. `seeds_on` is how far its seed is from the run's: of several networks of
    one model each is another one.
    """

    owner: ClassVar[str] = "teacher"
    alone: ClassVar[str] = "teacher"
    ways: ClassVar[str] = "train, pretrained"
    remedy: ClassVar[str] = "give a file, or teacher.weights=train"

    place: int | None = None
    seeds_on: int = 0

    @property
    def title(self) -> str:
        return f"{self.name}, seed +{self.seeds_on}" if self.seeds_on else self.name

    @property
    def model_key(self) -> str:
        return f"{self.owner}.model" if self.place is None else f"{self.owner}.models.{self.place}"

    def check_classes(self, data: DataModule) -> None:
        """Raise `UserError` unless its published weights know the data's classes."""
        classes = pretrained_num_classes(self.model) if self.weights == "pretrained" else None
        if classes is not None and classes != data.num_classes:
            raise UserError(
                f"{self.model_key}={self.name}: its pretrained weights know {classes} classes, the data have "
                f"{data.num_classes}; use teacher.weights=train, or a file of weights for these classes"
            )

    def seeded(self, config: DictConfig) -> DictConfig:
        if not self.seeds_on:
            return config
        changed = config.copy()
        changed.data = plain(config.data)
        changed.seed = (config.seed + self.seeds_on) % SEEDS
        return changed

    def built(self, config: DictConfig, data: DataModule) -> nn.Module:
        """With its weights, or random ones of its seed."""
        seed_everything(self.seeded(config).seed, workers=True, verbose=False)
        return self.build(data)

    def obtained(self, config: DictConfig, data: DataModule, logs: Path, began: DictConfig) -> networks.TestedNetwork:
        """Found, or trained now with its logs in a folder, and measured."""
        return networks.obtain("teacher", self, config, data, logs, began)

    def found(self, config: DictConfig, data: DataModule) -> nn.Module | None:
        """As an earlier run left it, or None where it is not on this machine."""
        if self.is_trained_first:
            return networks.find(self, config, data)
        if self.file is not None and not self.file.exists():
            return None
        return self.built(config, data)

    def tell(self) -> None:
        """Say where its weights are from, where these are not trained."""
        say(self.owner, f"{self.title}, weights: {self.weights or 'random'}")

    def frozen(
        self,
        network: nn.Module,
        names: Iterable[str],
        kept: KeptAnswers,
        config: DictConfig,
        data: DataModule,
        example: Input,
        *,
        batch_statistics: bool = False,
    ) -> FrozenNetwork | CachedSource:
        """The built network as a source of what terms take by these names, behind its answers where they are kept."""
        width = task_of(config, data).width
        taps = resolve_taps(self.owner, network, self.given_taps() or "auto", names, example, width)
        frozen = FrozenNetwork(network, taps, self.name, batch_statistics=batch_statistics, num_classes=width)
        return kept.in_front_of(frozen, self.model, config, data, example)
