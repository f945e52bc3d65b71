"""Each addition is small, uses public names alone, and runs, is tested again and is shown like what is packaged."""

import ast
import json
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from kd_lightning.config.conf import conf_dir
from tests.additions.addition import ADDITIONS, ALL, HERE, Addition
from tests.conftest import Command

QUICK = ("trainer.max_epochs=1", "trainer.limit_train_batches=3", "scratch=false", "trainer.accelerator=cpu")
MOST_LINES = 40  # of Python

each = pytest.mark.parametrize("addition", ALL, ids=lambda addition: addition.name)


@pytest.fixture
def files(addition: Addition, tmp_path: Path) -> Iterator[None]:
    """The addition's files in the folder where the commands run; its module is forgotten afterwards."""
    addition.copy_to(tmp_path)
    yield
    sys.modules.pop(addition.code.stem, None)
    sys.path[:] = [path for path in sys.path if path != str(tmp_path)]


def test_each_is_on_the_list() -> None:
    assert {folder.name for folder in HERE.iterdir() if (folder / "conf").is_dir()} == {*ADDITIONS}


@each
def test_it_is_one_short_file_and_one_config(addition: Addition) -> None:
    assert len(addition.code.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    assert addition.config.is_file()
    others = {file for file in addition.folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    assert others == {addition.code, addition.config}


@each
def test_it_uses_public_names_alone(addition: Addition) -> None:
    for node in ast.walk(ast.parse(addition.code.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if alias.name.startswith("kd_lightning.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "kd_lightning":
            assert node.module is not None
            assert {alias.name for alias in node.names} <= public_names(node.module)
    packaged = "\n".join(file.read_text(encoding="utf-8") for file in conf_dir().rglob("*.yaml"))
    for target in targets(yaml.safe_load(addition.config.read_text(encoding="utf-8"))):
        if target.startswith("kd_lightning."):
            module, _, name = target.rpartition(".")
            assert name in public_names(module) or f"_target_: {target}\n" in packaged


def public_names(module: str) -> set[str]:
    """What a package says that it offers; of `kd_lightning.errors`, whose one line users' classes raise, all."""
    if module == "kd_lightning.errors":
        return {"UserError"}
    return set(getattr(import_module(module), "__all__", ()))


def targets(value: object) -> Iterator[str]:
    """Each `_target_` in a config."""
    if isinstance(value, dict):
        yield from ([value["_target_"]] if "_target_" in value else [])
        value = list(value.values())
    for inner in value if isinstance(value, list) else []:
        yield from targets(inner)


@each
@pytest.mark.usefixtures("files")
def test_it_runs_is_tested_again_and_is_shown(command: Command, addition: Addition) -> None:
    trained = command("kd-train", *addition.arguments, *QUICK, "callbacks.progress_bar=null", "hydra.run.dir=run")
    assert trained.code == 0, trained.errors
    folder = trained.folder / "run"
    assert addition.summarised in (folder / "summary.json").read_text(encoding="utf-8")
    assert addition.shown in trained.output
    again = command("kd-eval", "run=run")
    assert again.code == 0, again.errors
    rows = measured_twice(again.output)
    assert rows, again.output
    assert all(now == stored for now, stored in rows)
    assert command("kd-report", "run", "--output", "page.html").code == 0
    assert addition.shown in (trained.folder / "page.html").read_text(encoding="utf-8")
    assert json.loads((folder / "summary.json").read_text())["data"]["tested"]


def measured_twice(table: str) -> list[tuple[str, str]]:
    """The metrics of kd-eval's table, now and stored, of each of several networks; its cost was not measured again."""
    number, metrics = r"(-?[\d.,]+|nan|inf)", table.partition("  parameters  ")[0]
    rows = re.findall(rf"^ .*?((?: +{number})+) *$", metrics, re.MULTILINE)
    values = [row[0].split() for row in rows]
    return [pair for row in values for pair in zip(row[::2], row[1::2], strict=False)]
