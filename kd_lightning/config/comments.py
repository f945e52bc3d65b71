"""A config file with the comments beside its keys."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where PyYAML was built with it: ten times as fast


SIGN = re.compile(r"(?<!\S)#\s*(.*)")  # of a comment, and what it says


class Commented(NamedTuple):
    """A key of a file: its path from the file's root, its value as it is written, and what is said of it."""

    path: tuple[str, ...]
    value: str  # "" of a mapping with keys of its own
    above: str  # in lines of their own in front of it, perhaps of the keys behind it too
    beside: str  # in its line


class Comments:
    """What the comments of a yaml file say: in front of everything, and of each key."""

    def __init__(self, file: Path) -> None:
        self.text = file.read_text(encoding="utf-8")
        self.lines = self.text.splitlines()
        self.header_end = next((n for n, line in enumerate(self.lines) if not line.startswith("#")), len(self.lines))
        said = [line[1:].removeprefix(" ") for line in self.lines[: self.header_end]]
        self.is_global = "@package _global_" in said
        self.header = [line for line in said if not line.startswith("@package")]
        self.root = yaml.compose(self.text, LOADER)

    def entries(self) -> Iterator[Commented]:
        """All keys but the defaults list, each mapping before what stands in it."""
        if isinstance(self.root, yaml.MappingNode):
            yield from self._below(self.root, ())

    def defaults_list(self) -> Iterator[Commented]:
        """The entries of the defaults list: by what stands before the colon, or the name of another config."""
        nodes = self.root.value if isinstance(self.root, yaml.MappingNode) else ()
        for entry in next((value.value for key, value in nodes if key.value == "defaults"), ()):
            for key, value in entry.value if isinstance(entry, yaml.MappingNode) else ((entry, entry),):
                above, beside = self._comments(key, value)
                chosen = "" if value is key else self.text[value.start_mark.index : value.end_mark.index]
                yield Commented((str(key.value),), chosen, above, beside)

    def _below(self, node: yaml.MappingNode, prefix: tuple[str, ...]) -> Iterator[Commented]:
        for key, value in node.value:
            if not prefix and key.value == "defaults":
                continue
            path = (*prefix, str(key.value))
            block = isinstance(value, yaml.CollectionNode) and not value.flow_style
            block = block or (isinstance(value, yaml.ScalarNode) and value.style in ("|", ">"))
            above, beside = self._comments(key, key if block else value)
            if block and isinstance(value, yaml.MappingNode):
                yield Commented(path, "", above, beside)
                yield from self._below(value, path)
            else:
                yield Commented(path, self.text[value.start_mark.index : value.end_mark.index], above, beside)

    def _comments(self, key: yaml.Node, end: yaml.Node) -> tuple[str, str]:
        """What stands in the lines above the key, and from the line where it ends on, below the same sign."""
        above, line = key.start_mark.line, end.end_mark.line
        while above > self.header_end and self.is_comment(above - 1, key.start_mark.column):
            above -= 1
        said = [text.strip().lstrip("# ") for text in self.lines[above : key.start_mark.line]]
        beside = SIGN.search(self.lines[line], end.end_mark.column)
        told = [] if beside is None else [beside[1]]
        while beside is not None and self.is_comment(line + 1, beside.start()):
            line += 1
            told.append(self.lines[line].strip().lstrip("# "))
        return " ".join(said), " ".join(told)

    def is_comment(self, line: int, column: int) -> bool:
        """Whether a line is a comment alone, whose sign stands in this column."""
        text = self.lines[line] if line < len(self.lines) else ""
        return text.lstrip().startswith("#") and text.index("#") == column
