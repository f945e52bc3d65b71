"""What the comments in config files say of the keys of a config that is composed of them."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from kd_lightning.config.comments import LOADER, Comments
from kd_lightning.config.packaged import holds_parts_by_name

Key = tuple[str, ...]
DEPTHS = ("*/*.yaml", "*/*/*.yaml")  # at which the values of groups lie


class Said(NamedTuple):
    """Of a key: what stands in lines in front of it, and what beside it."""

    above: str = ""
    beside: str = ""


class ConfigFiles:
    """The config files that a command sees: those in the first folder count before those of the same name in others."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders = folders
        self.groups: dict[str, list[str]] = {}  # each with its values
        found = {file.relative_to(folder) for folder in folders for depth in DEPTHS for file in folder.glob(depth)}
        for file in sorted(found):
            if file.parts[0] != "hydra":
                self.groups.setdefault(file.parent.as_posix(), []).append(file.stem)

    def read(self, name: str) -> Comments | None:
        """The file of this name, such as loss/kd; None where it lies elsewhere, or is none."""
        file = next((file for folder in self.folders if (file := folder / f"{name}.yaml").exists()), None)
        try:
            return None if file is None else read(file)
        except (yaml.YAMLError, UnicodeDecodeError):  # told of where it is chosen
            return None

    def built_on(self, group: str, value: str) -> Iterator[Comments]:
        """A group's value, behind those that it names in its defaults list."""
        file = self.read(f"{group}/{value}")
        if file is None:
            return
        loaded = yaml.load(file.text, LOADER)
        for entry in (loaded.get("defaults") or []) if isinstance(loaded, dict) else []:
            if isinstance(entry, str) and entry not in ("_self_", value):
                yield from self.built_on(group, entry)
        yield file

    def explanations(self, root: str, choices: dict[str, str], config: dict[str, Any]) -> dict[Key, Said]:
        """What is said of each key of a composed config, by the last of the chosen files that says anything."""
        said: dict[Key, Said] = {}
        if (own := self.read(root)) is not None:
            add(said, own, ())
        chosen = [
            (group, file) for group in choices if group in self.groups for file in self.built_on(group, choices[group])
        ]
        for group, file in sorted(chosen, key=lambda one: one[1].is_global):
            place = () if file.is_global else tuple(group.split("/"))
            if place and not holds_parts_by_name(group):
                said[place] = Said(" ".join(file.header))
            add(said, file, place)
        for path in parts_by_name(config):
            files = [self.read(f"{path[-2]}/{name}") for name in self.groups[path[-2]]]
            for file in (one for one in files if one is not None):
                parts = [key.path[0] for key in file.entries() if len(key.path) == 1]
                if path[-1] in parts:
                    said[path] = Said(" ".join(file.header) if len(parts) == 1 else "")
                    add(said, file, path[:-1])
        return said


@cache
def read(file: Path) -> Comments:
    return Comments(file)


def add(said: dict[Key, Said], file: Comments, place: Key) -> None:
    for key in file.entries():
        path = (*place, *key.path)
        before = said.get(path, Said())
        said[path] = Said(key.above or before.above, key.beside or before.beside)


def parts_by_name(config: Any, path: Key = ()) -> Iterator[Key]:
    """The paths of terms, callbacks and whatever else stands by its name in a group, wherever that stands."""
    for name, inner in config.items() if isinstance(config, dict) else ():
        if path and holds_parts_by_name(path[-1]):
            yield (*path, str(name))
        else:
            yield from parts_by_name(inner, (*path, str(name)))
