"""Links lead somewhere, command lines compose, bad input is told what the pages say, code runs."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kd_lightning.commands import cache, report
from kd_lightning.config.conf import conf_dir
from kd_lightning.models import check_model_name
from tests.conftest import Command
from tests.documents.page import PAGES, PLACEHOLDER, README, ROOT, Page

MOST_LINES = 300  # of the README
PARSERS = {"kd-report": report.parser, "kd-cache": cache.parser}
COMMANDS = {line: page for page in reversed(PAGES) for line in page.commands}  # each once, on its first page
NAMED = [(page.name, line) for line, page in COMMANDS.items()]
REFUSED = {line: (page, told) for page in reversed(PAGES) for line, told in page.refused.items()}
SCRIPTS = [(page, script) for page in PAGES for script in page.scripts if page.name != "CONTRIBUTING.md"]

each = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_there_is_something_to_test() -> None:
    assert len(COMMANDS) > 40
    assert len(REFUSED) == 5
    assert len(SCRIPTS) >= 3
    assert len(README.links) > 10
    assert len(README.text.splitlines()) <= MOST_LINES


@each
def test_links_lead_somewhere(page: Page) -> None:
    for link in page.links:
        path, _, anchor = link.partition("#")
        target = ((ROOT / page.name).parent / path).resolve() if path else ROOT / page.name
        assert target.is_file(), f"{page.name}: {link}"
        within = ROOT / "docs" if page.name.startswith("docs/") else ROOT
        assert target.is_relative_to(within), f"{page.name}: {link} leaves the site"
        if anchor:
            assert anchor in Page(str(target.relative_to(ROOT))).anchors, f"{page.name}: {link}"


@each
def test_files_that_are_named_are_there(page: Page) -> None:
    for name in re.findall(r"`((?:conf|kd_lightning|tests|benchmarks|notebooks)/[\w./-]+)`", page.text):
        packaged = name.replace("kd_lightning/conf/", "conf/")
        assert (ROOT / packaged).exists() or re.search(PLACEHOLDER, name) or not Path(name).suffix, (
            f"{page.name}: {name}"
        )


@pytest.mark.parametrize(("line", "page"), COMMANDS.items(), ids=[" ".join(pair) for pair in NAMED])
def test_a_command_composes(line: str, page: Page, command: Command, readers_folder: Path) -> None:
    words = shlex.split(line, comments=True)
    while re.match(r"[A-Z_]+=", words[0]):  # the environment
        words = words[1:]
    if words[0] in ("torchrun", "srun"):
        words = words[next(i for i, word in enumerate(words) if word.startswith("kd-")) :]
    name, *arguments = words
    if name in PARSERS:
        PARSERS[name]().parse_args(arguments)
    elif name in ("kd-train", "kd-eval", "kd-inspect", "kd-export", "kd-predict"):
        for one in single_runs(arguments):
            compose(line, name, one, command)
    elif name == "make":
        assert set(arguments[:1]) <= set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    elif name == "pip":
        extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
        assert arguments[0] == "install"
        assert set(re.findall(r"\[(\w+)\]", line)) <= set(extras)
    else:
        raise AssertionError(f"{line}: nothing checks this command")


def single_runs(arguments: list[str]) -> list[list[str]]:
    """The arguments of the first and the last run of a sweep; of a single run, its own."""
    for launcher in ("joblib", "submitit", "ray"):  # plugins, one of which the tests can do without
        if find_spec(f"hydra_plugins.hydra_{launcher}_launcher") is None:
            arguments = [one for one in arguments if not one.startswith(f"hydra/launcher={launcher}")]
    if "-m" not in arguments:
        return [arguments]
    plain = [argument for argument in arguments if argument != "-m"]
    return [[re.sub(r"^(\w+=).*", rf"\g<1>{a.partition('=')[2].split(',')[i]}", a) for a in plain] for i in (0, -1)]


def compose(line: str, name: str, arguments: list[str], command: Command) -> None:
    outcome = command(name, *arguments, "--cfg", "job")
    if re.search("no such config|nothing reads", REFUSED.get(line, (None, ""))[1]):
        assert outcome.code == 2
        return
    assert outcome.code == 0, outcome.errors
    config = OmegaConf.create(outcome.output)
    for role in ("student", "teacher"):
        model = OmegaConf.select(config, f"{role}.model")
        if isinstance(model, str) and line not in REFUSED:
            check_model_name(model, f"{role}.model")


@pytest.mark.parametrize(("line", "page", "told"), [(line, *refused) for line, refused in REFUSED.items()])
def test_bad_input_is_told_what_is_shown(line: str, page: Page, told: str, command: Command) -> None:
    name, *arguments = shlex.split(line)
    outcome = command(name, *arguments)
    assert outcome.code == 2
    assert outcome.error_lines == [told]


@pytest.mark.parametrize(("page", "script"), SCRIPTS, ids=[f"{page.name}-{i}" for i, (page, _) in enumerate(SCRIPTS)])
def test_a_script_runs(page: Page, script: str, readers_folder: Path) -> None:
    exec(compile(script, page.name, "exec"), {"__name__": "page"})


def test_every_method_stands_in_the_table() -> None:
    listed = re.findall(r"^\| `method=(\w+)` \|", Page("docs/methods.md").text, re.MULTILINE)
    assert sorted(listed) == sorted(file.stem for file in (conf_dir() / "method").glob("*.yaml"))
    assert f"{len(listed)} published methods" in README.text


def test_every_page_is_reached_from_the_first() -> None:
    first = Page("docs/index.md")
    pages = {page.name.removeprefix("docs/") for page in PAGES if page.name.startswith("docs/")} - {"index.md"}
    assert pages <= set(first.links)
    guides = {f"docs/{name}" for name in pages - {"methods_measured.md"}}
    assert guides <= {link.partition("#")[0] for link in README.links}


def test_every_group_stands_in_the_table_of_groups_with_its_values() -> None:
    cells = re.findall(r"^\| (`[^|]+) \| ([^|]*) \|", Page("docs/configuration.md").text, re.MULTILINE)
    listed = {name: values.split(", ") for groups, values in cells for name in re.findall(r"`(\w+)`", groups)}
    folders = [folder for folder in conf_dir().iterdir() if folder.is_dir()]
    there = {folder.name: [file.stem for file in folder.glob("*.yaml")] for folder in folders}
    assert set(there) <= set(listed)
    unlike = {group for group, values in there.items() if sorted(values) != sorted(listed[group])}
    assert unlike == {"callbacks", "experiment", "hydra", "loss", "method", "paths"}, "these are told of in words"
