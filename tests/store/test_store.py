"""The store: what is asked for is made once, found ever after, and never half there."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch.distributed
import torch.multiprocessing
from filelock import FileLock

from kd_lightning.store import CannotKeep, Store, key_of
from kd_lightning.store.keys import digest
from kd_lightning.system.records import Damaged, warn_once

KEY = {"model": "resnet8", "seed": 0}


@pytest.fixture(autouse=True)
def _told_again() -> None:
    warn_once.cache_clear()


def read(folder: Path) -> str | None:
    """What `Maker` wrote; nothing where it is empty, and what begins with an x is damaged."""
    text = (folder / "value").read_text()
    if text.startswith("x"):
        raise Damaged(f"{folder / 'value'}: is damaged")
    return text or None


class Maker:
    """Writes how often it was called, and fails first where there is a `failure`."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.calls: list[Path] = []
        self.found: list[list[str]] = []
        self.failure = failure

    def __call__(self, folder: Path) -> str:
        self.calls.append(folder)
        self.found.append(sorted(path.name for path in folder.iterdir()))
        (folder / "begun").touch()
        if self.failure is not None:
            raise self.failure
        (folder / "value").write_text(f"made {len(self.calls)}")
        return f"made {len(self.calls)}"


def obtain(root: Path, make: Callable[[Path], str], **options: bool | Callable[[Path], bool]) -> str:
    return Store(root).obtain("things", KEY, make, read, "it is made anew", **options)  # type: ignore[arg-type]


def names(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "things").iterdir() if path.suffix != ".lock")


@pytest.mark.parametrize("by_each_rank", [False, True])
def test_it_is_made_once_under_another_name(tmp_path: Path, by_each_rank: bool) -> None:
    make = Maker()
    assert [obtain(tmp_path, make, by_each_rank=by_each_rank) for _ in range(3)] == ["made 1"] * 3
    home = tmp_path / "things" / digest(KEY)
    assert make.calls == [home.with_suffix(".unfinished")]
    assert names(tmp_path) == [home.name]
    assert Store(tmp_path).folder("things", {"seed": 0, "model": "resnet8"}) == home, "in whatever order"


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    make = Maker(KeyboardInterrupt())
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            obtain(tmp_path, make)
        assert names(tmp_path) == []
    assert make.found == [[], []]


def test_an_interrupted_one_goes_on_from_what_it_left(tmp_path: Path) -> None:
    make = Maker(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        obtain(tmp_path, make, goes_on=lambda folder: (folder / "begun").exists())
    assert names(tmp_path) == [f"{digest(KEY)}.unfinished"]
    make.failure = None
    assert obtain(tmp_path, make, goes_on=lambda folder: (folder / "begun").exists()) == "made 2"
    assert make.found == [[], ["begun"]]
    assert names(tmp_path) == [digest(KEY)]


def test_what_a_killed_process_left_is_removed_unless_one_goes_on_from_it(tmp_path: Path) -> None:
    left = tmp_path / "things" / f"{digest(KEY)}.unfinished"
    left.mkdir(parents=True)
    (left / "half").touch()
    make = Maker()
    obtain(tmp_path, make)
    assert make.found == [[]]
    assert names(tmp_path) == [digest(KEY)]


@pytest.mark.parametrize("content", ["x", ""])
def test_a_damaged_one_is_made_anew_with_a_warning_and_an_incomplete_one_without(
    content: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make = Maker()
    obtain(tmp_path, make)
    value = tmp_path / "things" / digest(KEY) / "value"
    value.write_text(content)
    value.with_name("more").touch()
    assert obtain(tmp_path, make) == "made 2"
    said = f"warning: {value}: is damaged; it is made anew\n" if content else ""
    assert capfd.readouterr().err == said
    assert sorted(path.name for path in value.parent.iterdir()) == ["begun", "value"]


def test_who_only_looks_changes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert Store(tmp_path).find("things", KEY, read, "left out") is None
    assert not any(tmp_path.iterdir())
    obtain(tmp_path, Maker())
    assert Store(tmp_path).find("things", KEY, read, "left out") == "made 1"
    value = tmp_path / "things" / digest(KEY) / "value"
    value.write_text("x")
    assert Store(tmp_path).find("things", KEY, read, "left out") is None
    assert capfd.readouterr().err == f"warning: {value}: is damaged; left out\n"
    assert value.read_text() == "x"


def test_where_nothing_can_be_written_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "things").write_text("no folder")
    make = Maker()
    with pytest.raises(CannotKeep) as refused:
        obtain(tmp_path, make)
    assert refused.value.strerror
    assert refused.value.filename == str(tmp_path / "things" / digest(KEY))
    assert not make.calls


def test_what_removes_its_folder_is_not_kept(tmp_path: Path) -> None:
    def make(folder: Path) -> str:
        folder.rmdir()
        return "of no use"

    assert obtain(tmp_path, make) == "of no use"
    assert names(tmp_path) == []


def test_of_two_at_once_one_makes_and_the_other_waits(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    begun, go, got = threading.Event(), threading.Event(), []

    def make(folder: Path) -> str:
        begun.set()
        go.wait(60)
        (folder / "value").write_text("made")
        return "made"

    def never(folder: Path) -> str:
        raise AssertionError("it was made twice")

    first = threading.Thread(target=lambda: got.append(obtain(tmp_path, make)))
    second = threading.Thread(target=lambda: got.append(obtain(tmp_path, never)))
    first.start()
    begun.wait(60)
    second.start()
    said = ""
    while second.is_alive() and not said:
        said = capfd.readouterr().out
    go.set()
    first.join()
    second.join()
    assert got == ["made", "made"]
    home = tmp_path / "things" / digest(KEY)
    assert said == f"waiting        for another run, which is at work on {home}\n"


def test_the_other_ranks_leave_lock_and_rename_to_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished = tmp_path / "things" / f"{digest(KEY)}.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "of the first").touch()
    monkeypatch.setenv("RANK", "1")
    make = Maker()
    assert obtain(tmp_path, make) == "made 1"
    assert make.found == [["of the first"]]
    assert [path.name for path in (tmp_path / "things").iterdir()] == [unfinished.name]
    assert obtain(tmp_path, make, by_each_rank=True) == "made 2"
    assert names(tmp_path) == [digest(KEY)]


def test_a_key_tells_what_a_training_starts_from() -> None:
    first = key_of({"model": "resnet32"})
    key = key_of({"model": "resnet8"}, starts_from={"network": first})
    assert key == key_of({"model": "resnet8"}) | {"starts_from": {"network": digest(first)}}
    other = key_of({"model": "resnet8"}, starts_from={"network": key_of({"model": "resnet56"})})
    assert len({digest(key), digest(other), digest(key_of({"model": "resnet8"}))}) == 3
    assert json.loads(json.dumps(key)) == key


def rank(number: int, root: Path, ends: str) -> None:
    """One of two that follow a run elsewhere, which makes what they need while the first waits for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANK", str(number))
        torch.distributed.init_process_group("gloo", f"file://{ends}", rank=number, world_size=2)
        make = Maker(AssertionError("it is there"))
        assert obtain(root, make) == "of another run"
        torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_all_ranks_have_what_their_first_waited_for(tmp_path: Path) -> None:
    root, home = tmp_path / "root", tmp_path / "root" / "things" / digest(KEY)
    home.parent.mkdir(parents=True)
    with FileLock(home.with_suffix(".lock")):
        arguments = (root, str(tmp_path / "ends"))
        ranks = torch.multiprocessing.start_processes(rank, arguments, nprocs=2, join=False, start_method="fork")
        assert not ranks.join(timeout=2)
        home.mkdir()
        (home / "value").write_text("of another run")
    while not ranks.join():
        pass
