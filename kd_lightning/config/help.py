"""What --help says of a command, of a group, of one of its values, of a key; all of it read from the config files."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping

from kd_lightning.config.comments import Commented
from kd_lightning.config.files import Choice, ConfigFiles, Key, chosen
from kd_lightning.config.lines import COLUMN, INDENT, beside, filled, links, paragraphs, rows
from kd_lightning.errors import UserError, did_you_mean

MADE = ("_target_", "_partial_")  # what a part is made by, which the overview leaves out


class Help:
    """The help of the command whose root config has this name, in lines of at most so many signs."""

    def __init__(self, files: ConfigFiles, root: str, width: int) -> None:
        self.files, self.root, self.width = files, root, width
        self.choices = files.choices(root)
        self.groups = [group for group in self.choices if group in files.groups]

    def overview(self) -> Iterator[str]:
        """What the command does, the groups with their values, and all keys of what is chosen by default."""
        file = self.files.read(self.root)
        yield from paragraphs([] if file is None else file.header, self.width, "")
        yield ""
        if self.groups:
            yield "Groups: GROUP=VALUE chooses another one, GROUP=[VALUE,VALUE] several"
            yield ""
            for choice in (self.choices[group] for group in self.groups):
                yield from beside(typed_choice(choice), choice.said, self.width)
                values = self.files.groups[choice.group]
                yield from filled(", ".join(values) if values != [*choice.values] else "", self.width, 3 * INDENT)
            yield ""
        yield "Keys: KEY=VALUE changes one" + (", +KEY=VALUE adds one" if self.groups else "")
        yield ""
        yield from self.rows(self.files.keys(self.root).values())
        for choice in (self.choices[group] for group in self.groups):
            for value in choice.values:
                yield from self.in_short(choice.group, value)

    def of(self, topic: str) -> Iterator[str]:
        """What is said of GROUP, GROUP=VALUE or KEY; raises `UserError` where there is none of this name."""
        name, _, value = topic.lstrip("+~").partition("=")
        outer, _, below = name.partition("/")
        group, below = (name, "") if name in self.files.groups else (outer, below)
        if outer in self.groups:
            prefix = f"{below.rstrip('/')}/" if below else ""
            values = [] if value[:1] in ("", "{", "$") else [f"{prefix}{one}" for one in chosen(value)]
            return self.values(group, values) if values else self.group(group, prefix)
        return self.key(tuple(name.split(".")))

    def values(self, group: str, values: list[str]) -> Iterator[str]:
        for value in values:
            if value not in self.files.groups[group]:
                meant = did_you_mean(value, self.files.groups[group])
                raise UserError(f"{group}={value}: no such config; {meant}--help {group} lists all")
        for n, value in enumerate(values):
            yield from [""] * bool(n)
            yield from self.in_full(group, value)

    def group(self, group: str, prefix: str = "") -> Iterator[str]:
        """The values of a group, and the keys of those chosen by default; raises `UserError` where it has none."""
        names = [name for name in self.files.groups[group] if name.startswith(prefix)]
        if not names:
            raise UserError(f"{group}/{prefix.rstrip('/')}: no such group; --help {group} lists its values")
        choice = self.choices.get(group) or self.files.choice_inside(group)
        yield f"{typed_choice(choice)}: {choice.said}" if choice.said else typed_choice(choice)
        yield ""
        column = min(max(map(len, names)) + 2 * len(INDENT), COLUMN)
        for name in names:
            file = self.files.read(f"{group}/{name}")
            said = "" if file is None else " ".join(file.header)
            yield from beside(
                name, textwrap.shorten(said, 2 * (self.width - column), placeholder=" …"), self.width, column
            )
        for value in choice.values:
            yield from self.in_short(group, value)
        yield ""
        yield f"--help {group}=VALUE explains one of them."

    def in_short(self, group: str, value: str) -> Iterator[str]:
        """A value of a group as one of the default ones: its first words, and its keys."""
        file, keys = self.files.read(f"{group}/{value}"), self.files.keys(f"{group}/{value}")
        header = [] if file is None else file.header
        yield ""
        yield from filled(
            f"{group}={value}: {' '.join(header)}" if header else f"{group}={value}", self.width, "", INDENT
        )
        yield from self.rows(keys.values())

    def in_full(self, group: str, value: str) -> Iterator[str]:
        """A value of a group: all that its file says in front, its papers, what else it chooses, its keys."""
        name = f"{group}/{value}"
        file, keys = self.files.read(name), self.files.keys(name)
        header = [] if file is None else file.header
        yield f"{group}={value}"
        yield ""
        yield from paragraphs(header, self.width)
        yield from (f"{INDENT}{link}" for link in links(header))
        if besides := [typed_choice(choice) for choice in self.files.choices(name).values()]:
            yield ""
            yield from filled(f"Chooses {', '.join(besides)}.", self.width)
        yield ""
        yield from rows(keys.values(), self.width)

    def key(self, path: Key) -> Iterator[str]:
        """A key with what stands below it, and other configs that set it; raises `UserError` where no config has it."""
        found = self.places(path)
        if not found:
            raise UserError(self.unknown(path))
        (name, keys), *others = found
        yield f"{'.'.join(path)}, of {name}" if name else ".".join(path)
        yield ""
        if not keys[0].above and not keys[0].beside:
            keys[0] = keys[0]._replace(
                above=shared_comment(self.files.keys(name.replace("=", "/", 1) or self.root), path)
            )
        yield from rows(keys, self.width)
        known = (keys[0].value, keys[0].beside)
        also = [(name, one) for name, theirs in others for one in theirs if one.path == path and one.value]
        also = [(name, one) for name, one in also if (one.value, one.beside) != known]
        if also:
            yield ""
            yield "As other configs have it:"
            yield ""
            for name, one in also:
                yield from beside(name, told(one, known[1]), self.width)

    def places(self, path: Key) -> list[tuple[str, list[Commented]]]:
        """The configs that set a key or what stands below it, those chosen by default first, with what they set."""
        others = [name for name in self.files.naming(path) if name.partition("/")[0] in self.groups]
        found = []
        for name in dict.fromkeys([*self.named(), *others]):
            keys = [key for key in self.files.keys(name).values() if key.path[: len(path)] == path]
            if keys:
                found.append((self.files.typed(name) if "/" in name else "", keys))
        return found

    def unknown(self, path: Key) -> str:
        """What is said of a key that no config has: what may take it, or what may have been meant."""
        name = ".".join(path)
        made = self.places((*path[:-1], "_target_"))
        if made:
            target = made[0][1][0].value
            return f"{name}: no config has this key; +{name}=VALUE adds it where it is an argument of {target}"
        known = {".".join(key) for one in self.named() for key in self.files.keys(one)}
        return f"{name}: no such key or group; {did_you_mean(name, [*known, *self.groups])}--help lists all"

    def named(self) -> list[str]:
        """The configs that are chosen by default."""
        return [self.root, *(f"{one.group}/{value}" for one in self.choices.values() for value in one.values)]

    def rows(self, keys: Iterable[Commented]) -> Iterator[str]:
        """The keys of the overview."""
        return rows((one for one in keys if one.path[-1] not in MADE or one.beside), self.width)


def told(one: Commented, known: str) -> str:
    """The value of a key elsewhere, with what is said of it there and not here."""
    return f"{one.value}; {one.beside}" if one.beside and one.beside != known else one.value


def shared_comment(keys: Mapping[Key, Commented], path: Key) -> str:
    """What stands in lines above keys of which the one at the path is not the first."""
    said = ""
    for one in keys.values():
        if one.path[:-1] == path[:-1]:
            if one.path == path:
                break
            said = "" if one.beside else one.above or said
    return said


def typed_choice(choice: Choice) -> str:
    """What a defaults list chooses of a group, as it is typed."""
    several = f"[{','.join(choice.values)}]" if len(choice.values) > 1 else "".join(choice.values)
    return f"{choice.group}={several or 'null'}"
