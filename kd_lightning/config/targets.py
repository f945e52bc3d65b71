"""A `_target_` on a command line, which stands for itself: no argument of the class that it replaces reaches it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from kd_lightning.config.conf import OF_THE_PLACE, TARGET

OF_LISTS = {"data.augment": ("kd_lightning.data.InOrder", "parts")}  # the class that takes a list, and as what
OF_A_METHOD = ("batch_statistics",)  # switches that a method turns on for whichever class


def with_new_targets(lines: Sequence[str], parsed: Sequence[Override]) -> list[str]:
    """The same overrides, those below a key whose `_target_` is given as ones that add the key where it is not yet."""
    new = new_targets(parsed)
    return [
        f"++{line}" if is_within(override.get_key_element(), new) and not chooses_group(override) else line
        for line, override in zip(lines, parsed, strict=True)
    ]


def with_lists_as_objects(lines: Sequence[str], parsed: Sequence[Override]) -> list[str]:
    """The same overrides, a list in place of an object as that which it makes: Hydra merges none with a mapping."""
    listed = {one.input_line for one in plain_ones(parsed) if isinstance(one.value(), list)}
    found = []
    for line in lines:
        key, _, value = line.partition("=")
        kind = OF_LISTS.get(key.lstrip("+")) if line in listed else None
        found.append(line if kind is None else f"{key}={{{TARGET}: {kind[0]}, {kind[1]}: {value}}}")
    return found


def leave_out_replaced(config: DictConfig, parsed: Sequence[Override]) -> None:
    """Remove from each part of a config whose `_target_` is given what the overrides do not give beside it."""
    typed: dict[str, Any] = {}
    for override in plain_ones(parsed):
        *above, name = override.key_or_group.split(".")
        place = typed
        for key in above:
            if not isinstance(place.get(key), dict):  # what chooses the group, such as a list of terms
                place[key] = {}
            place = place[key]
        value = override.value()
        if not isinstance(value, Mapping) and isinstance(place.get(name), dict):  # what chooses the group, again
            continue
        place[name] = merged(place.get(name), value) if isinstance(value, Mapping) else value
    with open_dict(config):
        for key in new_targets(parsed):
            part, given = OmegaConf.select(config, key, throw_on_resolution_failure=False), typed
            for name in key.split("."):
                given = given[name]
            if isinstance(part, DictConfig):
                keep_alone(part, given)


def new_targets(parsed: Sequence[Override]) -> set[str]:
    """The dotted keys whose `_target_` is given."""
    return {key for override in plain_ones(parsed) for key in targets_in(override.key_or_group, override.value())}


def plain_ones(parsed: Sequence[Override]) -> Iterator[Override]:
    """The overrides that give a key one value."""
    yield from (one for one in parsed if not (one.is_delete() or one.is_sweep_override() or one.is_hydra_override()))


def targets_in(key: str, value: Any) -> Iterator[str]:
    if key.endswith(f".{TARGET}") and is_dotted(value):
        yield key.removesuffix(f".{TARGET}")
    if isinstance(value, Mapping):
        if is_dotted(value.get(TARGET)):
            yield key
        for name, inner in value.items():
            yield from targets_in(f"{key}.{name}", inner) if name != TARGET else ()


def is_dotted(value: Any) -> bool:
    """Whether a value is the name of something in a module; any other is told of where it is to be made."""
    return isinstance(value, str) and "." in value


def chooses_group(override: Override) -> bool:
    """Whether an override is one as `optimizer=adamw`, which another one may give another class."""
    return "." not in override.key_or_group and isinstance(override.value(), str)


def is_within(key: str, above: set[str]) -> bool:
    """Whether an override without + or ~ in front has one of these keys, or one below."""
    return any(key == one or key.startswith(f"{one}.") for one in above)


def merged(before: Any, value: Mapping[Any, Any]) -> dict[str, Any]:
    own = dict(before) if isinstance(before, Mapping) else {}
    for name, inner in value.items():
        own[str(name)] = merged(own.get(str(name)), inner) if isinstance(inner, Mapping) else inner
    return own


def keep_alone(part: DictConfig, given: Mapping[str, Any]) -> None:
    """Of a part of a config the given keys, in every depth, and how its place has it made."""
    for name in list(part):
        if name in OF_THE_PLACE or (name in OF_A_METHOD and part[name] is True):
            continue
        if str(name) not in given:
            del part[name]
            continue
        node, value = part._get_node(name), given[str(name)]
        if isinstance(node, DictConfig) and isinstance(value, Mapping) and not node._is_none():
            keep_alone(node, value)
