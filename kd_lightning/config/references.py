"""Which keys of a config its other values refer to, as in `${extra.width}`; nothing is resolved."""

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import GrammarParseError
from omegaconf.grammar_parser import parse

from kd_lightning.config.resolvers import PAIRS

Path = tuple[str, ...]
TAKES_A_KEY = ("oc.select", "oc.dict.keys", "oc.dict.values", "oc.deprecated")  # first of its arguments
READS_THE_ROOT = {"for_pair": PAIRS}  # resolvers that look a key up by themselves
SIMPLE = re.compile(r"\$\{([\w.]+)")


def references(values: Any, path: Path = ()) -> Iterator[tuple[Path, Path]]:
    """Of each reference in nested plain values the path of the value that it stands in, and the one it refers to."""
    if isinstance(values, dict | list):
        for name, inner in values.items() if isinstance(values, dict) else enumerate(values):
            yield from references(inner, (*path, str(name)))
    elif isinstance(values, str) and "${" in values:
        for key in keys_in(values):
            yield path, absolute(key, path)


def keys_in(text: str) -> Iterator[str]:
    """The keys that a text refers to, as they are written; up to a part of one that is itself looked up."""
    try:
        tree: Any = parse(text)
    except GrammarParseError:  # told of where it is resolved
        yield from SIMPLE.findall(text)
        return
    yield from keys_in_tree(tree)


def keys_in_tree(tree: Any) -> Iterator[str]:
    kind = type(tree).__name__
    children = list(tree.getChildren()) if tree.getChildCount() else []
    if kind == "InterpolationNodeContext":
        parts = [child.getText() for child in children[1:-1]]
        known = next((i for i, part in enumerate(parts) if "${" in part), len(parts))
        yield "".join(parts[:known])
    elif kind == "InterpolationResolverContext":
        name, arguments = children[1].getText(), children[3].getText().split(",")
        if name in TAKES_A_KEY:
            yield arguments[0].strip().partition("${")[0]
        elif name in READS_THE_ROOT:
            yield READS_THE_ROOT[name]
        elif not OmegaConf.has_resolver(name):  # the user's own, which may look up what it is given
            yield from (argument.strip() for argument in arguments)
    for child in children:
        yield from keys_in_tree(child)


def absolute(key: str, path: Path) -> Path:
    """A key as a path from the root; one that begins with dots counts from the value that it stands in."""
    names = key.lstrip(".")
    up = len(key) - len(names)
    above = path[: max(0, len(path) - up)] if up else ()
    return (*above, *(part for part in re.split(r"[.\[\]]+", names) if part))
