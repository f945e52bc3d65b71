"""Keys that nothing reads: they are refused, with the keys that may have been meant.

Read are the keys that packaged configs have, what other values refer to, and what stands under `extra`. The arguments
of what is made by its `_target_` are checked with its signature (`experiment/checks/arguments.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kd_lightning.config.checks.arguments import refuse_further, takes
from kd_lightning.config.conf import as_typed
from kd_lightning.config.packaged import (
    defaults_of,
    files_of,
    groups,
    holds_parts_by_name,
    packaged,
    roots,
    stands_at_its_name,
    values_at,
    without_defaults,
)
from kd_lightning.config.references import Path, references
from kd_lightning.errors import UserError

EXTRA = "extra"  # a user's own keys
OF_OTHER_DATA = ("probe",)  # whose keys are arguments of the data that it names, and are checked with these
TARGET = "_target_"


def refuse_unread(config: DictConfig, lines: Sequence[str] = ()) -> None:
    """Raise `UserError` for the first key of a composed config that nothing reads.

    `lines` are overrides of a multirun that this config does not have, and may refer to its keys.
    """
    values, root = values_and_root(config)
    suspects = list(unknown(values, (), root))
    if not suspects:
        return
    hydra: Any = OmegaConf.to_container(config.hydra, resolve=False)
    hydra.pop("overrides")  # as typed, and no value itself
    referred = [*references({**values, "hydra": hydra}), *references(list(lines))]
    typed = [tuple(line.lstrip("+").partition("=")[0].split(".")) for line in as_typed(config.hydra.overrides.task)]
    for path in suspects:
        is_read = any(touches(key, path) for place, key in referred if place[: len(path)] != path)
        # A packaged config may bring a key that only a value reads which another config replaces.
        is_brought = any(True for _ in values_at(path, root)) and not any(touches(key, path) for key in typed)
        if not is_read and not is_brought:
            raise unread(path, values, root)


def values_and_root(config: DictConfig) -> tuple[dict[str, Any], str]:
    """A composed config without Hydra's part in plain values, nothing resolved, and its packaged root config's name."""
    keys = [str(key) for key in config if key != "hydra"]
    values: Any = OmegaConf.to_container(OmegaConf.masked_copy(config, keys), resolve=False)
    return values, root_of(str(config.hydra.job.config_name), values)


def root_of(name: str, values: Mapping[str, Any]) -> str:
    """The packaged root config that a config with these keys begins with, whatever its own name is."""
    return name if name in roots() else max(roots(), key=lambda root: len(names_at_root(root) & set(values)))


def names_at_root(root: str) -> set[str]:
    """The keys of a root config, and the groups that give it keys of their names."""
    found = {group for group in defaults_of(root) if group != "hydra" and stands_at_its_name(group)}
    return found | set(without_defaults(packaged(root)))


def unknown(values: Mapping[Any, Any], path: Path, root: str) -> Iterator[Path]:
    """The keys below a path that no packaged config has, outside of what is made by its `_target_`."""
    if TARGET in values or path == OF_OTHER_DATA:
        return
    names = [str(name) for name in values]
    by_name = bool(path) and path[-1] in groups() and holds_parts_by_name(path[-1])
    if by_name:
        strange = without_part(values, path, root)
    elif len(path) > 1 and path[-1] in groups():  # what differs from the group of this name, and is checked with it
        return
    else:
        strange = not_known(names, path, root)
        if strange and len(path) == 1 and (target := laid_over(path[0], root)) is not None:
            for name in strange:
                refuse_further(target, name, shown(values[name]), path[0])
            return
    yield from ((*path, name) for name in strange)
    for name, inner in values.items():
        if isinstance(inner, dict) and str(name) not in strange and not by_name:
            yield from unknown(inner, (*path, str(name)), root)


def not_known(names: Sequence[str], path: Path, root: str) -> list[str]:
    """Those of the names that stand in no packaged config at this path; none where any may stand there."""
    if not path:
        known = names_at_root(root)
        return [name for name in names if name not in known]
    left, closed = dict.fromkeys(names), False
    for value in values_at(path, root):
        if isinstance(value, dict) and value:
            closed |= TARGET not in value
            left = {name: None for name in left if name not in value}
        elif value is not None:  # a mapping is one of several kinds of values
            return []
        if not left:
            return []
    return list(left) if closed else []


def without_part(values: Mapping[Any, Any], path: Path, root: str) -> list[str]:
    """The names of parts that are not there, so that their keys are none's, and whose names are close to another's."""
    given = [str(name) for name, part in values.items() if isinstance(part, dict) and TARGET not in part and part]
    if not given:
        return []
    known = {name for value in values_at(path[-1:], root) if isinstance(value, dict) for name in value}
    known |= {str(name) for name, part in values.items() if isinstance(part, dict) and TARGET in part}
    return [name for name in given if name not in known and get_close_matches(name, known)]


def laid_over(group: str, root: str) -> str | None:
    """The class whose arguments a mapping gives that has a group's name where the group is not chosen, if it is one."""
    if group not in groups() or group in defaults_of(root):
        return None
    targets = {str(packaged(name)[TARGET]) for name in files_of(group) if TARGET in packaged(name)}
    given = packaged(root).get(group) or {}
    target = targets.pop() if len(targets) == 1 else None
    return target if target is not None and all(takes(target, name, group) for name in given) else None


def touches(referred: Path, path: Path) -> bool:
    """Whether a reference reads a key: it refers to it, to one below, or to a mapping that has it."""
    shorter = min(len(referred), len(path))
    return referred[:shorter] == path[:shorter]


def unread(path: Path, values: Mapping[str, Any], root: str) -> UserError:
    """What is said of a key that nothing reads: its value, and what may have been meant."""
    whole, value = path, at(path, values)
    while isinstance(value, dict) and len(value) == 1 and TARGET not in value:
        ((name, value),) = value.items()
        whole = (*whole, str(name))
    key = ".".join(whole)
    return UserError(f"{key}={shown(value)}: nothing reads this key; {remedy(whole, len(path) - 1, values, root)}")


def remedy(path: Path, wrong: int, values: Mapping[str, Any], root: str) -> str:
    """What to give instead of a key whose part at the position `wrong` is unknown."""
    if not wrong and path[0] in groups() and path[0] in defaults_of(root):
        return f"{path[0]} chooses a config by its name, whose file begins with # @package _global_"
    meant = similar(path, wrong, values, root)
    own = f"a key of your own goes under {EXTRA}, as {EXTRA}.{path[-1]}" if EXTRA in packaged(root) else ""
    if meant:
        return f"did you mean {' or '.join(meant)}?" + (f" {own[0].upper()}{own[1:]}" if own else "")
    return own or f"there are {', '.join(all_keys(root))}"


def all_keys(root: str) -> list[str]:
    """The keys of a root config that composes no groups, as they are typed."""
    values = without_defaults(packaged(root))
    return [".".join(key) for key in keys_of(values) if not isinstance(at(key, values), dict)]


def similar(path: Path, wrong: int, values: Mapping[str, Any], root: str) -> list[str]:
    """Keys that may have been meant, the likeliest first: close ones beside it, or those of its name elsewhere."""
    above, name, below = path[:wrong], path[wrong], path[wrong + 1 :]
    close = get_close_matches(name, set(names_beside(above, values, root)) - {name}, n=3)
    if close:
        keys = [(*above, one, *below) for one in close]
        there = [key for key in keys if key in set(keys_of(values))] or [(*above, one) for one in close]
        return [".".join(key) for key in (there if below else keys)]
    named = [key for key in keys_of(values) if key[-1] == path[-1] and key[: wrong + 1] != path[: wrong + 1]]
    return [".".join(key) for key in sorted(named, key=len)[:3]]


def names_beside(above: Path, values: Mapping[str, Any], root: str) -> list[str]:
    """The keys that can stand below a path, and at the root the groups that can be chosen."""
    if not above:
        return sorted({*names_at_root(root), *(group for group in defaults_of(root) if group != "hydra")})
    beside = at(above, values)
    known = [name for value in values_at(above, root) if isinstance(value, dict) for name in value]
    return sorted({str(name) for name in (*known, *(beside if isinstance(beside, dict) else ()))} - {TARGET})


def keys_of(values: Any, path: Path = ()) -> Iterator[Path]:
    """The paths of all values, and of the mappings that hold them; without what is the user's own."""
    for name, inner in values.items() if isinstance(values, dict) and path != (EXTRA,) else ():
        yield (*path, str(name))
        yield from keys_of(inner, (*path, str(name)))


def at(path: Path, values: Any) -> Any:
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def shown(value: Any) -> str:
    """A value as it can be typed."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {shown(inner)}" for name, inner in value.items()) + "}"
    return f"[{','.join(map(shown, value))}]" if isinstance(value, list) else str(value)
