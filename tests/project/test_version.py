"""The version is that of the git tag; what is cited and what has changed is told in files of their own."""

import re
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

import kd_lightning

ROOT = Path(__file__).resolve().parents[2]
TELLING = ("pyproject.toml", "README.md", "LICENSE", ".gitattributes", ".git_archival.txt")
FALLBACK = re.search(r'^fallback-version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what a build reads of its version, without the clone's history."""
    folder = tmp_path / "tree"
    folder.mkdir()
    for name in TELLING:
        shutil.copy(ROOT / name, folder)
    return folder


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def version_in(folder: Path) -> str:
    asked = [sys.executable, "-m", "hatchling", "version"]
    return subprocess.run(asked, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_the_package_tells_the_version_that_is_installed() -> None:
    assert kd_lightning.__version__ == version("kd-lightning")


def test_a_copy_without_history_has_a_version(tree: Path) -> None:
    assert FALLBACK is not None
    assert version_in(tree) == FALLBACK[1]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_version_is_that_of_the_tag(tree: Path, tmp_path: Path) -> None:
    git(tree, "init")
    git(tree, "add", "--all")
    git(tree, "commit", "-m", "one")
    assert re.fullmatch(r"[\d.]+\.dev\d+\+g\w+", version_in(tree)), "of no tag"
    git(tree, "tag", "v1.2.3")
    assert version_in(tree) == "1.2.3"
    git(tree, "archive", "--output", str(tmp_path / "archive.tar"), "HEAD")
    with tarfile.open(tmp_path / "archive.tar") as archive:
        archive.extractall(tmp_path / "archive", filter="data")
    assert version_in(tmp_path / "archive") == "1.2.3", "a download of the tag, without git"
    git(tree, "commit", "--allow-empty", "-m", "two")
    assert version_in(tree).startswith("1.2.4.dev1+g")
    git(tmp_path, "clone", "--depth", "1", tree.as_uri(), "shallow")
    assert re.fullmatch(r"[\d.]+\.dev\d+\+g\w+", version_in(tmp_path / "shallow")), "as continuous integration clones"


def test_the_citation_has_what_its_format_asks_for() -> None:
    told: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert told["cff-version"] == "1.2.0"
    assert all(isinstance(told[key], str) and told[key] for key in ("message", "title", "abstract"))
    assert told["type"] == "software"
    assert told["authors"] == [{"name": "The KD Lightning authors"}], "an entity, which has a name"
    assert f'license = "{told["license"]}"' in (ROOT / "pyproject.toml").read_text()
    optional = {"abstract", "authors", "keywords", "license", "type", "url", "repository-code", "doi", "identifiers"}
    assert told.keys() <= {"cff-version", "message", "title", *optional}


def test_the_changes_are_listed_as_the_format_has_it() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    assert lines[0] == "# Changelog"
    releases = [line for line in lines if line.startswith("## ")]
    assert releases[0] == "## [Unreleased]"
    assert all(re.fullmatch(r"## \[[\d.]+\] - \d{4}-\d\d-\d\d", line) for line in releases[1:])
    kinds = {line for line in lines if line.startswith("### ")}
    assert kinds <= {f"### {kind}" for kind in ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")}
    assert "### Added" in kinds
