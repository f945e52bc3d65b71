"""The store: what is made once for all runs is found by its key, or made now while others wait."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from kd_lightning.ranks import all_ranks_agree
from kd_lightning.store.folders import UNFINISHED, lock_beside
from kd_lightning.store.keys import Key, digest
from kd_lightning.system.files import put_in_place
from kd_lightning.system.locks import held
from kd_lightning.system.records import Damaged, warn_once
from kd_lightning.terminal import is_first_rank

T = TypeVar("T")


class CannotKeep(OSError):  # noqa: N818
    """Something is not in the store, whose folder cannot be written."""


class Store:
    """What is made once for all runs, each in `<root>/<kind>/<digest>`, which stands for all that decides it.

    Args:
        root: the folder of all that is kept.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from kd_lightning.store import Store
        >>> def make(folder):
        ...     print("made")
        ...     (folder / "answer").write_text("42")
        ...     return read(folder)
        >>> def read(folder):
        ...     return (folder / "answer").read_text()
        >>> with TemporaryDirectory() as root:
        ...     for _ in range(2):
        ...         answer = Store(Path(root)).obtain("answers", {"of": "all"}, make, read, "it is made anew")
        made
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, kind: str, key: Key) -> Path:
        """Where something of a kind is, once it is made."""
        return self.root / kind / digest(key)

    def obtain(
        self,
        kind: str,
        key: Key,
        make: Callable[[Path], T],
        read: Callable[[Path], T | None],
        anew: str,
        *,
        goes_on: Callable[[Path], bool] = lambda folder: False,
        by_each_rank: bool = False,
    ) -> T:
        """What `read` finds in the folder of a key, or what `make` gives, whose folder appears in one rename.

        Of several runs that need the same, the first makes it and the others wait. Of the ranks of a run the first
        looks, waits and renames; all read or make together, unless each does so `by_each_rank`. What `read` raises
        `Damaged` for is removed, with a warning that ends with `anew`; where it gives None, something is missing, and
        all is made again. What `make` leaves behind where it fails stays if it `goes_on` from that, and is removed
        else; a folder that it has removed itself is not kept.

        Raises `CannotKeep`, before anything is made, where it is not there and its folder cannot be written.
        """
        home, agree = self.folder(kind, key), alone if by_each_rank else all_ranks_agree
        if (found := look(home, read, agree)) is not None:
            return found
        leads = by_each_rank or is_first_rank()
        with self.held(kind, key, leads=leads) as refused:
            if (found := look(home, read, agree, anew)) is not None:
                return found
            if refused is not None:
                raise CannotKeep(refused.errno, refused.strerror or str(refused), str(home)) from refused
            return _made(home, make, goes_on, leads)

    def obtain_or_make(
        self,
        kind: str,
        key: Key,
        make: Callable[[Path | None], T],
        read: Callable[[Path], T | None],
        anew: str,
        *,
        by_each_rank: bool = False,
    ) -> T:
        """What `obtain` gives; where nothing can be kept, what `make` gives without a folder."""
        try:
            return self.obtain(kind, key, make, read, anew, by_each_rank=by_each_rank)
        except CannotKeep:
            return make(None)

    @contextmanager
    def held(self, kind: str, key: Key, *, leads: bool | None = None) -> Iterator[OSError | None]:
        """Have other runs wait that would make or change the same; the other ranks follow the one that `leads`.

        That is the first unless it is said. Yields why there is no lock, as where nothing can be written; else None.
        """
        home, refused = self.folder(kind, key), None
        with ExitStack() as lock:
            if is_first_rank() if leads is None else leads:
                try:
                    home.parent.mkdir(parents=True, exist_ok=True)
                    lock.enter_context(held(lock_beside(home), str(home)))
                except OSError as error:
                    refused = error
            yield refused

    def find(self, kind: str, key: Key, read: Callable[[Path], T | None], otherwise: str) -> T | None:
        """What was made before; None where it was not, and with a warning, which ends so, where it is damaged."""
        return look(self.folder(kind, key), read, alone, otherwise)


def look(
    home: Path, read: Callable[[Path], T | None], agree: Callable[[bool], bool], otherwise: str | None = None
) -> T | None:
    """What a folder holds, if it does for the first rank; `otherwise` is said of one that is damaged."""
    try:
        found = read(home) if home.exists() else None
    except Damaged as error:
        found = None
        if otherwise is not None:
            warn_once(f"{error}; {otherwise}")
    if not agree(found is not None):
        return None
    return read(home) if found is None else found  # which was made while another rank looked already


def alone(found: bool) -> bool:
    """What a process by itself agrees on."""
    return found


def _made(home: Path, make: Callable[[Path], T], goes_on: Callable[[Path], bool], leads: bool) -> T:
    unfinished = home.with_name(f"{home.name}{UNFINISHED}")
    if leads:
        shutil.rmtree(home, ignore_errors=True)  # damaged, or without something that is wanted now
        _remove_unless(goes_on, unfinished)
        unfinished.mkdir(exist_ok=True)
    try:
        made = make(unfinished)
        if leads and unfinished.exists():
            put_in_place(unfinished, home)
        return made
    finally:
        if leads:
            _remove_unless(goes_on, unfinished)


def _remove_unless(goes_on: Callable[[Path], bool], unfinished: Path) -> None:
    if unfinished.exists() and not goes_on(unfinished):
        shutil.rmtree(unfinished, ignore_errors=True)
