"""The examples in the docstrings of what the packages export run, each by itself, and show what they give."""

import doctest
from importlib import import_module
from inspect import isclass, isfunction
from typing import Any

import pytest

from docs.build_reference import PACKAGES, exported

FINDER = doctest.DocTestFinder(recurse=False)
OPTIONS = doctest.NORMALIZE_WHITESPACE
NAMES = {f"{package}.{name}": (package, name) for package in PACKAGES for name in exported(import_module(package))}
WITHOUT = {  # what nobody outside calls: protocols, bases whose subclasses have examples, what kd-train adds by itself
    "kd_lightning.callbacks": {
        *("Compilation", "EpochLines", "MeasuredPart", "MetricsRows", "MidEpoch", "MovedFolder", "Prefill"),
        *("SavedWhenInterrupted", "SeededBatches", "SeededEpochs"),
    },
    "kd_lightning.data": {
        "Augmentation",
        "Data",
        "DataModule",
        "Draw",
        "ImageFilesDataModule",
        "Images",
    },
    "kd_lightning.errors": {"DiskFailure", "NonFinite", "did_you_mean"},
    "kd_lightning.exporting": {"Exported"},
    "kd_lightning.plans": {"Parts", "Role", "Trained", "Training"},
    "kd_lightning.sources": {"CachedSource", "UntrainedSource"},
    "kd_lightning.taps": {"taps_of"},
    "kd_lightning.tasks": {"Task"},
}
NEEDS_FILES = {"CIFAR10DataModule", "CIFAR100DataModule", "SmallFolderDataModule"}


def public(full: str) -> Any:
    package, name = NAMES[full]
    return getattr(import_module(package), name)


def examples(full: str) -> list[doctest.DocTest]:
    """The examples of a class or function, and of the methods that a class defines; nothing is imported for them."""
    value = public(full)
    methods = [method for method in vars(value).values() if isfunction(method)] if isinstance(value, type) else []
    return [
        test for one in (value, *methods) for test in FINDER.find(one, full, module=False, globs={}) if test.examples
    ]


WITH = [full for full in NAMES if examples(full)]


@pytest.mark.parametrize("package", PACKAGES)
def test_what_users_call_has_examples(package: str) -> None:
    called = {name for name in exported(import_module(package)) if is_called(public(f"{package}.{name}"))}
    shown = {full.removeprefix(f"{package}.") for full in WITH}
    assert called - shown - NEEDS_FILES == WITHOUT.get(package, set())


def is_called(value: object) -> bool:
    return isclass(value) or isfunction(value)


@pytest.mark.parametrize("full", WITH)
def test_examples_run(full: str, capsys: pytest.CaptureFixture[str]) -> None:
    for test in examples(full):
        assert test.examples[0].source.startswith(("import ", "from ")), "an example says what it imports"
        result = doctest.DocTestRunner(optionflags=OPTIONS).run(test)
        assert result.failed == 0, capsys.readouterr().out
