"""A network that a config names: checked, built, and told by what tables and kept results call it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeGuard

from torch import Tensor, nn
from typing_extensions import Self

from kd_lightning.batch import Input, as_text
from kd_lightning.conversions import Entry, conversions_of, read_conversions, replayed, stored_beside
from kd_lightning.conversions.entries import note_conversions
from kd_lightning.data import DataModule
from kd_lightning.data.data import example_input
from kd_lightning.errors import UserError
from kd_lightning.finite import refuse_nonfinite
from kd_lightning.models import (
    check_stem,
    create_model,
    has_pretrained,
    load_weights,
    normalize_inputs,
)
from kd_lightning.models.ready import ready
from kd_lightning.models.resolution import at_size, check_image_size, resize_inputs
from kd_lightning.models.stem import note_stem
from kd_lightning.models.weights.checkpoint_files import read_metadata
from kd_lightning.models.weights.renaming import check_names
from kd_lightning.networks.head import with_head_for
from kd_lightning.networks.normalization import channels_of, given_normalization, normalization
from kd_lightning.networks.own_model import OwnModel, check_model
from kd_lightning.networks.settings import given_taps
from kd_lightning.part import Part
from kd_lightning.sources import FrozenNetwork
from kd_lightning.taps.inspection import Adapt, Inspection, inspect_model
from kd_lightning.taps.resolving import resolve_taps
from kd_lightning.tasks import Task


def short_name(model: Any) -> str:
    """What tables and summaries call a model: its name, or its class's."""
    settings = model.settings if isinstance(model, Part) else model
    return settings if isinstance(settings, str) else str(settings["_target_"]).rsplit(".", 1)[-1]


def is_of_training(name: str) -> bool:
    """Whether a field of a network says which weights it gets, or how it is trained."""
    return name.startswith("weights") or name in ("optimizer", "scheduler", "trainer")


def is_file(weights: Any) -> TypeGuard[str]:
    """Whether `weights` names a file rather than a way to get them."""
    return weights not in (None, "train", "pretrained")


@dataclass(frozen=True)
class Network:
    """A model by its name or class, with its weights, the taps beside those that are found, and its normalisation.

    Nothing of it is built or read before it is asked for. The fields are keys of the config's part of the `owner`.
    """

    owner: ClassVar[str]
    alone: ClassVar[str]  # the key of what its training by itself has of its own
    ways: ClassVar[str] = "pretrained"  # to get weights, besides files
    remedy: ClassVar[str] = "give a file, or null"  # where there are none published

    model: Any
    weights: Any = None
    weights_key: Any = None
    weights_map: Any = field(default=None, kw_only=True)
    taps: Any = "auto"
    normalization: Any = "auto"
    trusted: Any = None
    stem: Any = None
    image_size: Any = None

    @property
    def name(self) -> str:
        return short_name(self.model)

    @property
    def settings(self) -> Any:
        """The model as plain values: its name, or what its class is made with."""
        return self.model.settings if isinstance(self.model, Part) else self.model

    def as_values(self) -> dict[str, Any]:
        """What builds it, as plain values: its fields but for the weights, and for what a training takes of it."""
        given = ((one.name, getattr(self, one.name), one.default) for one in fields(self))
        kept = {name: value for name, value, default in given if value != default and not is_of_training(name)}
        return {name: value.settings if isinstance(value, Part) else value for name, value in kept.items()}

    @property
    def title(self) -> str:
        """Its name, as a line about its training says it."""
        return self.name

    @property
    def model_key(self) -> str:
        """Where the model stands in the config."""
        return f"{self.owner}.model"

    def key_of(self, name: str) -> str:
        """Where one of its keys stands in the config."""
        return f"{self.owner}.{name}"

    @property
    def weights_place(self) -> str:
        """Where its weights stand in the config."""
        return self.key_of("weights")

    @property
    def is_trained_first(self) -> bool:
        """Whether it gets its weights from a training of its own, before the run's."""
        return bool(self.weights == "train")

    @property
    def file(self) -> Path | None:
        """The file of its weights, where they are in one."""
        return Path(self.weights).expanduser() if is_file(self.weights) else None

    @property
    def renews_head(self) -> bool:
        """Whether weights of other classes are no obstacle: the network gets a new head, and learns with it."""
        return False

    def at(self, weights: Path) -> Self:
        """The same with the weights in a file."""
        return replace(self, weights=str(weights), weights_key=None, weights_map=None)

    def check(self) -> None:
        """Raise `UserError` unless the model exists, and so do its weights."""
        model, weights = self.model, self.weights
        if model is None:
            raise UserError(f"{self.model_key}=null: name a model, such as {self.model_key}=resnet8x4")
        check_model(model, self.model_key)
        if not (weights is None or (isinstance(weights, str) and weights)):
            raise UserError(f"{self.weights_place}={weights}: must be {self.ways}, the path of a file, or null")
        self.check_training()
        self.check_stem()
        check_image_size(self.image_size, self.key_of("image_size"))
        if weights == "pretrained" and not (isinstance(model, str) and has_pretrained(model)):
            raise UserError(
                f"{self.weights_place}=pretrained: {self.name} has no published weights here; {self.remedy}"
            )
        if is_file(weights) and not os.path.isfile(Path(weights).expanduser()):  # False for a name that is too long
            raise UserError(f"{self.weights_place}={weights}: no such file; give a file, pretrained or null")
        self.check_weights_key()
        self.check_weights_map()
        self.check_trusted()

    def check_trusted(self) -> None:
        """Raise `UserError` for what is no list of dotted names."""
        names = self.trusted
        if names is not None and not (isinstance(names, list) and all(isinstance(one, str) for one in names)):
            raise UserError(
                f"{self.key_of('trusted')}={names}: must be a list of classes, such as [mine.Prune], or null"
            )

    def check_training(self) -> None:
        """Raise `UserError` where it is to be trained first, and nobody does that."""

    def check_stem(self) -> None:
        """Raise `UserError` for a stem that the model cannot have, or that its published weights do not fit."""
        check_stem(self.name, self.stem, self.key_of("stem"), pretrained=self.weights == "pretrained")

    def check_stem_of_file(self) -> None:
        """Raise `UserError` where a file of weights tells of a network with another stem."""
        if self.file is None or not isinstance(self.model, str):
            return
        metadata = read_metadata(self.file, self.weights_place)
        stored = metadata.get("stem")
        if stored != self.stem and (stored is not None or metadata.get("model") == self.name):
            of = "its model's own stem" if stored is None else f"the stem {stored}"
            remedy = f"give {self.key_of('stem')}={stored or 'null'}"
            raise UserError(f"{self.weights_place}={self.weights}: is of a network with {of}; {remedy}")

    def check_weights_key(self) -> None:
        """It is a key, and there is a file that it can choose in. Raises UserError."""
        place, key = self.key_of("weights_key"), self.weights_key
        if key is None:
            return
        if not isinstance(key, str) or not key:
            raise UserError(f"{place}={key}: must be a key of the file, such as state_dict_ema, or null")
        if not is_file(self.weights):
            raise UserError(
                f"{place}={key}: chooses in a file, and {self.weights_place}={self.weights or 'null'} is none; "
                "give a file, or leave the key null"
            )

    def check_weights_map(self) -> None:
        """It maps names to names, and there is a file that has some. Raises UserError."""
        place, names = self.key_of("weights_map"), self.weights_map
        if names is None:
            return
        check_names(names, place)
        if not is_file(self.weights):
            raise UserError(
                f"{place}={names}: renames what is in a file, and {self.weights_place}={self.weights or 'null'} is "
                "none; give a file, or leave it null"
            )

    def other_classes(self, data: DataModule) -> int | None:
        """Of how many classes its weights are, 0 for no head at all, where that are not the data's; else None."""
        return None

    def told_of_classes(self, data: DataModule) -> str | None:
        """What is to be done where it knows other classes than the data and stays as it is; else None."""
        return None

    def check_classes(self, data: DataModule) -> None:
        """Raise `UserError` unless its published weights know the data's classes, or it may get another classifier."""

    def check_weights(self, data: DataModule, adapt: Adapt | None = None) -> None:
        """Raise `UserError` unless a file of weights fits the network, and a given normalisation the data."""
        if self.file is not None:
            self.build(data, adapt)
        elif self.normalization != "auto":
            given_normalization(self.key_of("normalization"), self.normalization, data)

    def build(self, data: DataModule, adapt: Adapt | None = None) -> nn.Module:
        """The network with its weights, and its own normalisation in front.

        One that is to be trained first is random: the training comes afterwards. `adapt` rebuilds it before it gets its
        weights from a file.
        """
        pretrained = self.weights == "pretrained"
        self.check_stem_of_file()
        network = self.like(data, example_input(data), pretrained=pretrained)
        if adapt is not None:
            entries = conversions_of(network)
            network = adapt(network, example_input(data))
            note_conversions(network, entries)
            note_stem(network, self.stem)
            network = self.resized(network)
        metadata: dict[str, str] = {}
        if self.file is not None:
            metadata = load_weights(
                network,
                self.weights,
                self.weights_place,
                weights_key=self.weights_key,
                weights_map=self.weights_map,
                new_classifier=self.renews_head or self.other_classes(data) == 0,
            )
            refuse_nonfinite(network, f"{self.weights_place}={self.weights}")
        statistics = normalization(
            self.key_of("normalization"),
            self.normalization,
            self.settings,
            data,
            metadata,
            with_weights=pretrained or bool(self.file),
        )
        return network if statistics is None else normalize_inputs(network, *statistics)

    @cached_property
    def conversions(self) -> list[Entry]:
        """What the network in a file of weights has been through. Raises UserError where the file cannot be read."""
        if self.file is None:
            return []
        return read_conversions(read_metadata(self.file, self.weights_place), f"{self.weights_place}={self.weights}")

    def like(self, data: DataModule, example: Input, *, pretrained: bool = False) -> nn.Module:
        """The network without its weights, or with published ones, on the device of an example.

        One by its name gets the data's classes and channels; raises UserError where they have none. It is converted as
        the one in its file of weights was. One of the user's own class that starts from a file gets a new head where
        its class makes one of other classes.
        """
        if self.image_size is not None:
            example = at_size(self.images(data, example), self.image_size)
        network = self.unconverted(data, example, pretrained=pretrained)
        place = f"{self.weights_place}={self.weights}"
        network = replayed(network, self.conversions, trusted=self.trusted or (), key=place)
        if self.file is None or not self.renews_head or isinstance(self.model, str) or channels_of(data) is None:
            return self.resized(network)
        return self.resized(with_head_for(network, example, data.num_classes, f"{self.model_key}={self.name}"))

    def resized(self, network: nn.Module) -> nn.Module:
        """The network, which sees images at its own size where it has one."""
        return network if self.image_size is None else resize_inputs(network, self.image_size)

    def images(self, data: DataModule, example: Input) -> Tensor:
        """An example of the data as images (B, C, H, W). Raises UserError where they are none."""
        if channels_of(data) is None or not isinstance(example, Tensor):
            raise UserError(
                f"{self.key_of('image_size')}={self.image_size}: resizes images (C, H, W), and the data {data.name} "
                f"give {as_text(data.inputs)}; leave it null"
            )
        return example

    def unconverted(self, data: DataModule, example: Input, *, pretrained: bool = False) -> nn.Module:
        """The same as its code builds it. Raises UserError."""
        named = self.named(data)
        if not isinstance(named, str):
            return ready(create_model(named, 0, pretrained=pretrained, key=self.model_key), example)
        channels = channels_of(data)
        if channels is None:
            raise UserError(
                f"{self.model_key}={named}: takes images (C, H, W), and the data {data.name} give "
                f"{as_text(data.inputs)}; name a class of your own, {self.model_key}={{_target_: …}}"
            )
        classes, key = self.other_classes(data) or data.num_classes, self.model_key
        network = create_model(named, classes, channels, pretrained=pretrained, stem=self.stem, key=key)
        return ready(network, example)

    def named(self, data: DataModule) -> str | OwnModel:
        """The model by its name, or what makes that of the user's own class."""
        if isinstance(self.model, str):
            return self.model
        return OwnModel(self.model, self.model_key, lambda: data.num_classes)

    def given_taps(self) -> dict[str, str]:
        """The taps that the config names."""
        return given_taps(self.key_of("taps"), self.taps)

    def logits_tap(self) -> dict[str, str] | str:
        """The tap that it needs to be tested: its logits, where the config names them."""
        given = self.given_taps()
        return {"logits": given["logits"]} if "logits" in given else "auto"

    def in_key(self) -> dict[str, Any]:
        """What decides what is learned from it, besides its weights and what stands with them: its taps."""
        taps = self.given_taps()
        return {"taps": taps} if taps else {}

    def named_logits(self) -> dict[str, Any]:
        """`logits_tap` where there is one, for what names a kept result."""
        tap = self.logits_tap()
        return {} if tap == "auto" else {"logits": tap}

    def named_model(self) -> dict[str, Any]:
        """The model as plain values, with the stem that it got and the size that it sees, for what names a result."""
        given = {"stem": self.stem, "image_size": self.image_size}
        return {"model": self.settings, **{name: value for name, value in given.items() if value is not None}}

    def file_metadata(self, network: nn.Module) -> dict[str, str]:
        """What goes into a weights file beside the weights: the model's name, its normalisation, its conversions."""
        return {"model": self.name, **stored_beside(network)}

    def frozen(
        self,
        network: nn.Module,
        role: str,
        names: Iterable[str],
        data: DataModule,
        width: int | None,
        *,
        batch_statistics: bool = False,
    ) -> FrozenNetwork:
        """The built network as a source of the signals that terms take by these names of a role."""
        taps = resolve_taps(role, network, self.given_taps() or "auto", names, example_input(data), width)
        return FrozenNetwork(network, taps, self.name, batch_statistics=batch_statistics, num_classes=width)

    def inspect(self, data: DataModule, task: Task, taken: set[str], adapt: Adapt | None = None) -> Inspection:
        """Its taps and examples of them, seen without weights. Raises `UserError` where it does not run on the data."""
        seen = self.seen(data, task.width, taken, adapt)
        try:
            task.check(seen.shapes, data)
        except UserError as error:
            raise UserError(f"{self.model_key}={seen.model}: {error}") from error
        return seen

    def seen(self, data: DataModule, width: int | None, taken: set[str], adapt: Adapt | None = None) -> Inspection:
        """The same without the task, which would know whether its logits serve; `width` is how many these are."""
        return inspect_model(
            self.owner,
            str(self.named(data)),
            lambda example: self.like(data, example),
            example_input(data),
            self.given_taps(),
            taken,
            adapt,
            num_classes=width,
            key=self.model_key,
        )
