"""Kinds of concepts: classes, groups of classes, folders, or any label for each sample."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kd_lightning.curricula.concepts import Concepts
from kd_lightning.curricula.curriculum import Samples
from kd_lightning.data.labels.files import values_in
from kd_lightning.errors import UserError

KEY = "curriculum.concepts"
HEADERS = ("label", "concept")  # of a CSV of labels


class ConceptKind(ABC):
    """Says which concepts a training's samples are of. One of your own is a subclass.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Concepts, Samples
        >>> from kd_lightning.curricula.path import ConceptKind
        >>> class EvenOrOdd(ConceptKind):
        ...     def of(self, samples):
        ...         of_classes = torch.arange(int(samples.target.max()) + 1) % 2
        ...         return Concepts(["even", "odd"], of_classes[samples.target], of_classes)
        >>> EvenOrOdd().of(Samples(torch.arange(3), torch.tensor([3, 0, 1]))).of_samples.tolist()
        [1, 0, 1]
    """

    @abstractmethod
    def of(self, samples: Samples) -> Concepts:
        """The concepts of these samples, and of their `validation`."""


class ByClass(ConceptKind):
    """Each class is a concept; or what the data set has as `concepts`, a whole number for each sample.

    Raises UserError where the data tell none.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Samples
        >>> from kd_lightning.curricula.path import ByClass
        >>> samples = Samples(torch.arange(3), torch.tensor([1, 0, 1]), torch.tensor([1, 0, 1]), classes=["cat", "dog"])
        >>> ByClass().of(samples).names
        ['cat', 'dog']
    """

    def of(self, samples: Samples) -> Concepts:
        target, concepts, validation = samples.target, samples.concepts, samples.validation
        if concepts is None:
            raise UserError(
                f"{KEY}: the data tell no classes; give the data set an attribute `targets` or `concepts` with a whole "
                "number for each sample, or take concepts=file"
            )
        if target is not None and torch.equal(concepts, target):
            names = names_of_classes(samples)
            return Concepts(names, concepts, torch.arange(len(names), device=concepts.device))
        if validation is None or validation.concepts is None:
            raise UserError(f"{KEY}: the training data have `concepts`, the validation data have none; give both")
        names = [str(number) for number in range(int(max(concepts.max(), validation.concepts.max())) + 1)]
        return Concepts(names, concepts, of_indices=by_index(validation.index, validation.concepts))


class ByGroup(ConceptKind):
    """Groups of classes by name; a class that is in none is a concept by itself.

    Raises UserError for classes that are not there, or in two groups.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Samples
        >>> from kd_lightning.curricula.path import ByGroup
        >>> target = torch.tensor([0, 1, 2])
        >>> samples = Samples(target, target, target, classes=["cat", "dog", "car"])
        >>> found = ByGroup({"animals": ["cat", "dog"]}).of(samples)
        >>> found.names, found.of_samples.tolist()
        (['animals', 'car'], [0, 0, 1])
    """

    def __init__(self, groups: Mapping[str, Sequence[str | int]] | None) -> None:
        if not isinstance(groups, Mapping) or not groups:
            raise UserError(f"groups={groups}: give groups of classes by name, such as {{animals: [cat, dog]}}")
        for name, members in groups.items():
            if isinstance(members, str) or not isinstance(members, Sequence) or not members:
                raise UserError(f"groups.{name}={members}: give a list of the names of classes")
        self.groups = {str(name): [str(one) for one in members] for name, members in groups.items()}

    def of(self, samples: Samples) -> Concepts:
        return grouped(samples, self.groups, f"{KEY}.groups")


class BySuperclass(ConceptKind):
    """The groups of the data's own hierarchy, as CIFAR-100 has twenty of five classes each. Raises UserError for none.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Samples
        >>> from kd_lightning.curricula.path import BySuperclass
        >>> target = torch.tensor([0, 1, 2])
        >>> groups = {"animals": ["cat", "dog"], "vehicles": ["car"]}
        >>> samples = Samples(target, target, target, classes=["cat", "dog", "car"], groups=groups)
        >>> BySuperclass().of(samples).names
        ['animals', 'vehicles']
    """

    def of(self, samples: Samples) -> Concepts:
        return grouped(samples, hierarchy_of(samples, KEY), KEY)


class ByFolder(ConceptKind):
    """The folder of each image's file: of `train/animals/cat/1.png` that is `animals/cat`.

    A concept so may be a part of a class, whose folder holds folders. Raises UserError for data that are no files, and
    for folders that training or validation lacks.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Samples
        >>> from kd_lightning.curricula.path import ByFolder
        >>> index = torch.arange(2)
        >>> folders = lambda: ["animals/cat", "animals/dog"]
        >>> samples = Samples(index, torch.zeros(2).long(), folders=folders, validation=Samples(index, folders=folders))
        >>> ByFolder().of(samples).names
        ['animals/cat', 'animals/dog']
    """

    def of(self, samples: Samples) -> Concepts:
        validation = samples.validation
        if samples.folders is None or validation is None or validation.folders is None:
            raise UserError(f"{KEY}=folders: the images are no files in folders; take data=folder or another concepts")
        return labelled(samples, samples.folders(), validation.folders(), f"{KEY}=folders")


class ByFile(ConceptKind):
    """A file's labels, one for each sample of the whole training set, as FromFile's numbers: NPY of (N,), or CSV.

    A CSV has one label on a line, or `index,label`. Validation images that are split off the training set find theirs
    in the same file; others in `validation_path`. Raises UserError for a file that cannot be read, or is too short.

    Examples:
        >>> import pathlib, tempfile, torch
        >>> from kd_lightning.curricula import Samples
        >>> from kd_lightning.curricula.path import ByFile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "labels.csv"
        ...     _ = path.write_text("dark\\nlight\\nlight\\ndark\\n")
        ...     kind = ByFile(str(path))
        >>> split_off = Samples(torch.tensor([2, 3]))
        >>> samples = Samples(torch.tensor([0, 1]), validation=split_off, is_of_training=True)
        >>> kind.of(samples).of_indices.tolist()
        [-1, -1, 1, 0]
    """

    def __init__(self, path: str | None, validation_path: str | None = None) -> None:
        if path is None:
            raise UserError("path=null: give a file, CSV with a label to a line, or NPY of (N,)")
        self.path, self.validation_path = path, validation_path
        self.labels = labels_in(Path(path), "path")
        self.validated = None if validation_path is None else labels_in(Path(validation_path), "validation_path")

    def of(self, samples: Samples) -> Concepts:
        validation, key = samples.validation, f"{KEY}.path={self.path}"
        if validation is None:
            raise UserError(f"{key}: there are no validation data, on which concepts are assessed; give some")
        if self.validated is None and not samples.is_of_training:
            raise UserError(
                f"{KEY}.validation_path=null: the validation data are not split off the training data; give a file "
                "with their labels, in their order"
            )
        of_validated = self.labels if self.validated is None else self.validated
        mine = taken(self.labels, samples, key)
        theirs = taken(of_validated, validation, key if self.validated is None else f"{KEY}.validation_path")
        return labelled(samples, mine, theirs, key)


def names_of_classes(samples: Samples) -> list[str]:
    """The classes by label; numbers where the data have no names for them, as many as training and validation have.

    Raises UserError for two classes of one name, and for a label without a name.
    """
    validated = None if samples.validation is None else samples.validation.target
    given = [one for one in (samples.target, validated) if one is not None and len(one)]
    count = max((int(one.max()) + 1 for one in given), default=0)
    if samples.classes is None:
        return [str(label) for label in range(count)]
    names = [*samples.classes]
    if count > len(names):
        raise UserError(
            f"{KEY}: the data have a label {count - 1}, and names of {len(names)} classes ({some(names)}); give each "
            "label a name"
        )
    labels: dict[str, int] = {}
    for label, name in enumerate(names):
        if labels.setdefault(name, label) != label:
            raise UserError(f"{KEY}: classes {labels[name]} and {label} are both called {name}; rename one of them")
    return names


def hierarchy_of(samples: Samples, key: str) -> dict[str, list[str]]:
    """The data's own groups of classes. Raises UserError where there are none."""
    if not samples.groups:
        raise UserError(
            f"{key}: the data have no hierarchy of their classes, as cifar100 has; give a data module an attribute "
            "`groups`, or take curriculum/concepts=groups"
        )
    return {str(name): [str(one) for one in members] for name, members in samples.groups.items()}


def grouped(samples: Samples, groups: Mapping[str, Sequence[str]], key: str) -> Concepts:
    """Groups of classes as concepts. Raises UserError for classes that are not there, or in two groups."""
    if samples.target is None or samples.target.ndim != 1 or samples.target.is_floating_point():
        raise UserError(f"{key}: the data tell no classes, of which there could be groups; take concepts=file")
    classes = names_of_classes(samples)
    of_class: dict[str, str] = {}
    for name, members in groups.items():
        for one in members:
            if one not in classes:
                raise UserError(f"{key}.{name}: the data have no class {one}; there are {some(classes)}")
            if one in of_class:
                raise UserError(f"{key}.{name}: class {one} is in {of_class[one]} already; leave it in one of them")
            of_class[one] = name
    names = [*groups, *(one for one in classes if one not in of_class)]
    if len({*names}) < len(names):
        raise UserError(f"{key}: a group has the name of a class that is in none; rename it")
    numbers = [names.index(of_class.get(one, one)) for one in classes]
    of_classes = torch.tensor(numbers, device=samples.target.device)
    unknown = samples.target < 0
    of_samples = torch.where(unknown, -1, of_classes[samples.target.clamp(min=0)])
    return Concepts(names, of_samples, of_classes)


def labelled(samples: Samples, mine: Sequence[str], theirs: Sequence[str], key: str) -> Concepts:
    """Labels of the samples, and of those of validation, as concepts. Raises UserError for one that either lacks."""
    names = sorted({*mine})
    for name in sorted({*names} ^ {*theirs}):
        there, absent = ("training", "validation") if name in names else ("validation", "training")
        raise UserError(f"{key}: concept {name} is in the {there} data alone; {absent} data need it, too")
    places = {name: place for place, name in enumerate(names)}
    of_samples = torch.tensor([places[one] for one in mine], device=samples.index.device)
    of_validated = torch.tensor([places[one] for one in theirs], device=samples.index.device)
    assert samples.validation is not None
    return Concepts(names, of_samples, of_indices=by_index(samples.validation.index, of_validated))


def by_index(index: Tensor, concepts: Tensor) -> Tensor:
    """int64 (largest index + 1,): the concept of each index, -1 of those that are not there."""
    table = torch.full((int(index.max()) + 1,), -1, device=index.device)
    table[index] = concepts.to(index.device)
    return table


def taken(labels: Sequence[str], samples: Samples, key: str) -> list[str]:
    """The labels of samples by their index. Raises UserError where there are too few, or more than samples."""
    last, count = int(samples.index.max()), len(labels)
    if last >= count or samples.total not in (None, count):
        of = f"a sample {last}" if samples.total is None else f"{samples.total} samples"
        raise UserError(f"{key}: holds {count} labels, and the whole set has {of}; give one for each")
    return [labels[one] for one in samples.index.tolist()]


def labels_in(path: Path, name: str) -> list[str]:
    """The labels of a file. Raises UserError."""
    return values_in(path, f"{name}={path}", "label", HEADERS.__contains__)


def some(names: Sequence[str]) -> str:
    """The names, of many the first ones."""
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
