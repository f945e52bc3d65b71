"""What stands as code within the lines of the pages: keys, values of groups, commands, targets of make, scripts."""

import inspect
import re
import shlex
from importlib.util import find_spec

import lightning
import pytest

from docs import build_reference
from kd_lightning.config.parts.recipe import OWN_PARTS
from tests.conftest import Command
from tests.documents.page import PAGES, PLACEHOLDER, ROOT, Page

GROUPS = {group: {config.value for config in configs} for group, configs in build_reference.groups().items()}
OWN = {tuple(name.removesuffix(".yaml").split("/")[1:]) for page in PAGES for name in page.files if "/" in name}
ROOTS = [build_reference.Config(build_reference.CONF / f"{name}.yaml") for name in build_reference.COMMANDS]
CONFIGS = [*ROOTS, *(config for configs in build_reference.groups().values() for config in configs)]
COMMAND = re.compile(r"(kd-\w+|make|python) \S.*")

each = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def above(name: str) -> list[str]:
    """A dotted name, and those that it stands below."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


KEYS = {name for config in CONFIGS for row in config.rows() for name in above(row.name)}


def overrides(page: Page) -> list[tuple[str, str]]:
    """Keys and groups with the values that they are given, `+key` as it is."""
    pair = re.compile(r"(?:^|(?<=[ ']))([+~]?[a-z_]+(?:[./@][a-z_0-9]+)*)=([^\s']*)")
    return [found for code in page.codes if "(" not in code for found in pair.findall(code)]


def is_there(key: str) -> bool:
    """Whether a config has this key, or it is one that is left to Hydra, to Lightning or to the user."""
    owner, _, own = key.partition(".")
    if own.partition(".")[0] in OWN_PARTS.get(owner, ()):  # laid over the run's
        return is_there(own)
    if owner == "probe" and own:  # data of their own
        return is_there(f"data.{own}")
    of_trainer = key.removeprefix("trainer.") in inspect.signature(lightning.Trainer).parameters
    return key in KEYS or key in GROUPS or of_trainer or key.partition(".")[0] in ("hydra", "extra")


@each
def test_keys_are_there(page: Page) -> None:
    for key, _ in overrides(page):
        if not key.startswith("+") and ("." in key or key in KEYS):
            assert is_there(key), f"{page.name}: {key}"


@each
def test_values_of_groups_are_there(page: Page) -> None:
    for group, value in overrides(page):
        for one in re.findall(r"[^\[\],]+", value) if group in GROUPS and not value.startswith("{") else []:
            is_word = one != "null" and not re.search(PLACEHOLDER, one)
            assert not is_word or one in GROUPS[group] or (group, one) in OWN, f"{page.name}: {group}={value}"


LINES = {code: page for page in reversed(PAGES) for code in page.codes if COMMAND.fullmatch(code)}


def test_there_are_some() -> None:
    assert sum(len(overrides(page)) for page in PAGES) > 100
    assert len(LINES) > 15


@pytest.mark.parametrize(("line", "page"), LINES.items(), ids=list(LINES))
def test_a_command_in_a_line_is_one(line: str, page: Page, command: Command) -> None:
    name, *arguments = shlex.split(line)
    if name == "make":
        assert f"\n{arguments[0]}:" in (ROOT / "Makefile").read_text()
    elif name == "python":
        assert find_spec(arguments[1]) if arguments[0] == "-m" else (ROOT / arguments[0]).is_file()
    elif name == "kd-train" and not re.search(PLACEHOLDER, line) and "mine." not in line:
        shown = [] if {"--help", "--cfg"} & set(arguments) else ["--cfg", "job"]
        assert command(name, *arguments, *shown).code == 0
