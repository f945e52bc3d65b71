"""The site: which plugins it has, what stands in its navigation, and that its reference leaves nothing out."""

import re
from collections.abc import Iterator
from importlib import import_module
from types import GenericAlias
from typing import Any

import pytest
import yaml

from docs import build_reference
from kd_lightning.config.conf import conf_dir
from tests.additions.addition import ALL
from tests.documents.page import MADE, PAGES, ROOT, Page

SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return build_reference.pages()


def navigation(entries: Any) -> Iterator[str]:
    """The files that the navigation names, from top to bottom."""
    if isinstance(entries, str):
        yield entries
    else:
        for entry in entries.values() if isinstance(entries, dict) else entries:
            yield from navigation(entry)


def test_it_has_two_plugins_and_fetches_no_fonts() -> None:
    names = [name for plugin in SITE["plugins"] for name in (plugin if isinstance(plugin, dict) else [plugin])]
    assert names == ["search", "mkdocstrings"]
    assert SITE["theme"]["font"] is False
    assert not {"hooks", "extra_css", "extra_javascript"} & set(SITE)


def test_every_page_is_in_the_navigation_once(made: dict[str, str]) -> None:
    named = list(navigation(SITE["nav"]))
    own = [name for name in named if not name.startswith(f"{MADE}/")]
    assert sorted(own) == sorted(page.name.removeprefix("docs/") for page in PAGES if page.name.startswith("docs/"))
    assert {name.removeprefix(f"{MADE}/") for name in named if name not in own} <= set(made)


def leaves(config: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all that a config sets, but within lists."""
    if isinstance(config, dict) and config:
        for key, value in config.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix


def test_every_key_of_every_value_is_in_the_reference(made: dict[str, str]) -> None:
    files = list(conf_dir().rglob("*/*.yaml"))
    assert len(files) > 100
    for file in files:
        group, _, value = file.relative_to(conf_dir()).with_suffix("").as_posix().partition("/")
        part = made[f"{group}.md"].partition(f"\n## {value}\n")[2].partition("\n## ")[0]
        text = file.read_text()
        place = file.parent.relative_to(conf_dir()).as_posix().replace("/", ".")
        prefix = "" if "@package _global_" in text else f"{place}."
        loaded = {key: value for key, value in (yaml.safe_load(text) or {}).items() if key != "defaults"}
        shown = [row.split("`")[1].partition("=")[0] for row in part.splitlines() if row.startswith("| `")]
        for name in leaves(loaded) if loaded else ():
            full = prefix + name
            assert any(one == full or full.startswith(f"{one}.") for one in shown), f"{file}: {full}"


def test_comments_stand_beside_their_keys(made: dict[str, str]) -> None:
    assert "| `data.augment.padding=1` | shift by up to so many pixels |" in made["data.md"]
    assert '| `teacher.cache="off"` | Keep its answers, for this run and all others: off;' in made["teacher.md"]
    assert "Chosen by `loss=VALUE` or `loss=[VALUE,VALUE]`; kd-train has `loss=[ce,kd]` unless" in made["loss.md"]


def test_targets_lead_to_their_classes(made: dict[str, str]) -> None:
    for page, link in (
        ("loss", "[SoftTarget](python/kd_lightning.losses.md#kd_lightning.losses.SoftTarget)"),
        ("loss", "[Term](python/kd_lightning.md#kd_lightning.Term)"),
        ("loss", "[Regressor](python/kd_lightning.models.projectors.md#kd_lightning.models.projectors.Regressor)"),
        ("data", "[DigitsDataModule](python/kd_lightning.data.md#kd_lightning.data.DigitsDataModule)"),
    ):
        assert link in made[f"{page}.md"]


def test_a_new_group_and_its_values_appear_by_themselves(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pace").mkdir()
    for name in build_reference.COMMANDS:
        (tmp_path / f"{name}.yaml").write_text("# A command.\ndefaults:\n  - _self_\n  - pace: slow\nseed: 0\n")
    listed = "# Slowly.\nsteps: [1,\n  2] # how many\n"
    text = listed + "# Both of these\n# are set together.\na: null\nb: {c: 1}\nd: # an object\n  e: x\n"
    (tmp_path / "pace" / "slow.yaml").write_text(text)
    monkeypatch.setattr(build_reference, "CONF", tmp_path)
    lines = build_reference.pages()["pace.md"].splitlines()
    assert lines[2] == "Chosen by `pace=VALUE`; kd-train has `pace=slow` unless told otherwise."
    assert lines[4:7] == ["## slow", "", "Slowly."]
    assert lines[-5:] == [
        "| `pace.steps=[1, 2]` | how many |",
        "| `pace.a=null` | Both of these are set together. |",
        "| `pace.b={c: 1}` |  |",
        "| `pace.d` | an object |",
        "| `pace.d.e=x` |  |",
    ]


@pytest.mark.parametrize("package", build_reference.PACKAGES)
def test_every_exported_name_is_in_the_reference(package: str, made: dict[str, str]) -> None:
    module = import_module(package)
    shown = [line.removeprefix("::: ") for line in made[f"python/{package}.md"].splitlines() if line.startswith("::: ")]
    assert shown
    for name in shown:
        assert name.startswith(f"{package}.")
        exported = getattr(module, name.removeprefix(f"{package}."))
        assert isinstance(exported, GenericAlias) or exported.__doc__, f"{name} has no docstring"
    listed = {f"{package}.{name}" for name in getattr(module, "__all__", ()) if not name.startswith("_")}
    assert listed <= {*shown, *build_reference.PACKAGES}


def test_every_addition_is_an_example_of_an_extension_point() -> None:
    text = Page("docs/extending.md").text
    assert {addition.name for addition in ALL} == set(re.findall(r"^- `tests/additions/(\w+)`", text, re.MULTILINE))


def test_additions_are_shown_in_full(made: dict[str, str]) -> None:
    for addition in ALL:
        assert addition.code.read_text().strip() in made["additions.md"]
        assert addition.config.read_text().strip() in made["additions.md"]
