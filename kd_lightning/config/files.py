"""The config files that a command sees, with what their comments say, read without Hydra."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from kd_lightning.config.comments import LOADER, Commented, Comments
from kd_lightning.config.conf import groups_inside

Key = tuple[str, ...]
OVERRIDE = re.compile(r"override\s+")


class Choice(NamedTuple):
    """What a defaults list chooses of a group, and what it says of the group."""

    group: str
    values: tuple[str, ...]  # none where it chooses null
    said: str


class ConfigFiles:
    """The config files in some folders: one in the first counts before those of the same name in the others."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self.groups: dict[str, list[str]] = {}  # each with its values, those in folders below it behind the others
        names = {file.relative_to(folder).with_suffix("") for folder in folders for file in folder.rglob("*.yaml")}
        for name in sorted(names, key=lambda name: (name.parts[0], len(name.parts), name)):
            if len(name.parts) > 1 and name.parts[0] != "hydra":
                inside = any(name.parts[1] in groups_inside(folder / name.parts[0]) for folder in folders)
                group = "/".join(name.parts[: 2 if inside else 1])
                self.groups.setdefault(group, []).append(name.relative_to(group).as_posix())

    def read(self, name: str) -> Comments | None:
        """The file of this name, such as loss/kd; None where it lies elsewhere, or is none."""
        file = next((file for folder in self.folders if (file := folder / f"{name}.yaml").exists()), None)
        try:
            return None if file is None else read(file)
        except (yaml.YAMLError, UnicodeDecodeError):  # told of where it is chosen
            return None

    def built_on(self, name: str, seen: tuple[str, ...] = ()) -> Iterator[Comments]:
        """A file, behind those of its own folder that it names in its defaults list."""
        file = self.read(name)
        if file is None or name in seen:
            return
        for entry in file.defaults_list():
            if not entry.value and entry.path[0] != "_self_":
                yield from self.built_on(beside(name, entry.path[0]), (*seen, name))
        yield file

    def choices(self, name: str) -> dict[str, Choice]:
        """What a file, and what it builds on, chooses of other groups; of a root config all that it is composed of."""
        found: dict[str, Choice] = {}
        for file in self.built_on(name):
            for entry in file.defaults_list():
                group = self.group_of(name, OVERRIDE.sub("", entry.path[0]))
                if entry.value and not group.startswith("hydra"):
                    before = found[group].said if group in found else ""
                    found[group] = Choice(group, chosen(entry.value), entry.beside or entry.above or before)
        return found

    def group_of(self, name: str, given: str) -> str:
        """The group that an entry of a file's defaults list names: one inside of the file's own, or from the top."""
        inside = f"{Path(name).parent.as_posix()}/{given}"
        return inside if inside in self.groups else given.lstrip("/")

    def choice_inside(self, group: str) -> Choice:
        """What the configs of a group choose of one inside of it by default."""
        outer = group.partition("/")[0]
        names = [f"{outer}/{value}" for value in self.groups[outer]]
        return next(choices[group] for name in names if group in (choices := self.choices(name)))

    def typed(self, name: str) -> str:
        """How a group's config is chosen on a command line, as loss=kd or curriculum/pace=root."""
        outer, _, value = name.partition("/")
        inner, _, below = value.partition("/")
        return f"{outer}/{inner}={below}" if f"{outer}/{inner}" in self.groups else f"{outer}={value}"

    def keys(self, name: str) -> dict[Key, Commented]:
        """The keys that a file, with what it builds on, gives a config: by their places in it, as last said."""
        found: dict[Key, Commented] = {}
        for file in self.built_on(name):
            place = () if file.is_global else Path(name).parent.parts
            for entry in file.entries():
                path = (*place, *entry.path)
                before = found.get(path)
                if entry.value and before is not None and not before.value:  # in the place of a mapping
                    found = {key: one for key, one in found.items() if key[: len(path)] != path}
                if before is not None:
                    entry = entry._replace(above=entry.above or before.above, beside=entry.beside or before.beside)
                found[path] = entry._replace(path=path)
        return found

    def naming(self, key: Key) -> Iterator[str]:
        """The names of the groups' values that set a key, or something below it."""
        for group, values in self.groups.items():
            for name in (f"{group}/{value}" for value in values):
                file = self.read_if_it_has(name, key[-1])
                if file is not None and any(path[: len(key)] == key for path in self.keys(name)):
                    yield name

    def read_if_it_has(self, name: str, word: str) -> Comments | None:
        """A file if the word stands in it, which is seen without reading it as YAML, or if it builds on others."""
        file = next((file for folder in self.folders if (file := folder / f"{name}.yaml").exists()), None)
        text = "" if file is None else file.read_text(encoding="utf-8", errors="replace")
        return self.read(name) if word in text or "defaults:" in text else None


@cache
def read(file: Path) -> Comments:
    return Comments(file)


def beside(name: str, other: str) -> str:
    """The name of a config that another one names: beside it, or with a / in front from the top."""
    return other.lstrip("/") if other.startswith("/") else (Path(name).parent / other).as_posix()


def chosen(text: str) -> tuple[str, ...]:
    """The values that an entry of a defaults list chooses, as it is written there."""
    value: Any = yaml.load(text, LOADER)
    return tuple(str(one) for one in (value if isinstance(value, list) else [value]) if one is not None)
