"""The folder in which a reader types."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents.page import PAGES, Page


@pytest.fixture
def readers_folder(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with the files of all pages, of which this page's own go before the others'."""
    for one in (*PAGES, page):
        for name, text in one.files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("mine", None)
    yield tmp_path
    sys.modules.pop("mine", None)
