"""Which files below a folder are its images, and which folders its classes.

What begins with a dot is left out, and so are the folders that file servers and desktops put beside pictures (OTHERS).
Links to files and folders are followed.
"""

import os
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from kd_lightning.data.folders.images import SUFFIXES
from kd_lightning.errors import UserError

OTHERS = {
    "__macosx",
    "__pycache__",
    "@eadir",
    "@recycle",
    "@tmp",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "recycler",
    "lost+found",
    "system volume information",
    "network trash folder",
    "temporary items",
}


def is_left_out(name: str) -> bool:
    return name.startswith(".") or name.lower() in OTHERS


def entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """What is in a folder but for what is left out, by name. Raises UserError where it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not is_left_out(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise unreadable(folder, error) from None


def unreadable(place: str | Path, error: OSError) -> UserError:
    return UserError(f"data.root: {place} cannot be read ({error.strerror or error}); mend or remove it")


def class_folders(split: Path) -> list[str]:
    """The classes of a split: its folders, by name. Raises UserError for a link to a folder that is not there."""
    if not os.path.isdir(split):
        return []
    found = entries(split)
    for entry in found:
        if not os.path.splitext(entry.name)[1] and is_dangling(entry):
            raise UserError(f"data.root: {entry.path} leads to {os.readlink(entry.path)}, which is not there; mend it")
    return [entry.name for entry in found if is_folder(entry)]


def is_empty(folder: Path) -> bool:
    """Whether nothing at all is in a folder. Raises UserError where it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return next(found, None) is None
    except OSError as error:
        raise unreadable(folder, error) from None


class Found(NamedTuple):
    """An image file: its name relative to the class folder, and a number that its other names share."""

    name: str
    file: int


def image_files(folder: Path, class_places: Callable[[], Sequence[str]] = tuple) -> list[Found]:
    """All image files below a class folder, by name; each folder once, however many links lead to it.

    A link to a folder that it lies in is not followed. Raises UserError for a link to where `class_places`, the real
    paths of all class folders, in order, says that another class or split lies, and for what is no file.
    """
    home, above = os.path.realpath(folder), os.path.realpath(folder.parent)
    seen: set[str] = set()
    found, links = below(str(folder), "", home, seen)
    for place, inside in links:  # which grows
        real = os.path.realpath(place)
        beside = os.path.realpath(os.path.dirname(place))
        if real in seen or any(lies_in(start, real) for start in (home, above, beside)):
            continue
        if meets_another(real, home, class_places()):
            raise UserError(
                f"data.root: {place} leads to {real}, where images of another class or split lie; remove the link"
            )
        further, more_links = below(place, inside, real, seen)
        found += further
        links += more_links
    return sorted(found)


def below(place: str, inside: str, real: str, seen: set[str]) -> tuple[list[Found], list[tuple[str, str]]]:
    """The image files below a folder, and the links to folders, each with its name; `seen` learns the real folders."""
    found, links = [], []
    pending = [(place, inside, real)]
    while pending:
        place, inside, real = pending.pop()
        if real in seen:
            continue
        seen.add(real)
        here = entries(place)
        device = os.stat(place).st_dev
        for entry in here:
            name, suffix = os.path.join(inside, entry.name), os.path.splitext(entry.name)[1].lower()
            if is_folder(entry) and entry.is_symlink():
                links.append((entry.path, name))
            elif is_folder(entry):
                pending.append((entry.path, name, os.path.join(real, entry.name)))
            elif suffix in SUFFIXES:
                check_file(entry)
                found.append(Found(name, number_of(entry, device)))
            elif not suffix and is_dangling(entry):
                check_file(entry)
    return found, links


def number_of(entry: os.DirEntry[str], device: int) -> int:
    """One number for all names of a file; a link has that of what it leads to."""
    inode = entry.inode()
    if entry.is_symlink():
        target = entry.stat()
        inode, device = target.st_ino, target.st_dev
    return hash((inode, device))


def meets_another(real: str, home: str, places: Sequence[str]) -> bool:
    """Whether a folder lies in another of these places than `home`, or has one in it; `places` are in order."""
    at = bisect_left(places, os.path.join(real, ""))
    inside = at < len(places) and lies_in(places[at], real)
    around = {real, *map(str, Path(real).parents)} - {home}
    return inside or any(contains(places, folder) for folder in around)


def contains(places: Sequence[str], place: str) -> bool:
    """Whether a place is one of these, which are in order."""
    at = bisect_left(places, place)
    return at < len(places) and places[at] == place


def lies_in(place: str, folder: str) -> bool:
    """Whether a real path is a folder's, or below it."""
    return place == folder or place.startswith(os.path.join(folder, ""))


def is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def is_dangling(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)


def check_file(entry: os.DirEntry[str]) -> None:
    """Raise UserError naming what is no file, such as a link whose target is gone."""
    try:
        if entry.is_file():
            return
    except OSError:  # links in a circle
        pass
    reason = f"a link to {os.readlink(entry.path)}, which is not there" if entry.is_symlink() else "no regular file"
    raise UserError(f"data.root: {entry.path} cannot be read as an image ({reason}); replace or remove it")
