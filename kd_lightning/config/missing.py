"""A key on a command line, without a + in front, that the config does not have: what to do instead."""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.config.checks.arguments import refuse_further
from kd_lightning.config.conf import conf_dir, groups_inside
from kd_lightning.config.packaged import defaults_of, files_of, groups, holds_parts_by_name, packaged, roots
from kd_lightning.config.references import Path
from kd_lightning.config.unread import TARGET, all_keys, at, keys_of, refuse_unread, shown, similar, values_and_root
from kd_lightning.errors import UserError

REFUSED = re.compile(r"Could not (?:override|delete from config\.) '([^']+)'")
TWICE = re.compile(
    r"(?:Multiple values for )?(\w+)(?:\. To override| appears more than once in the final defaults list)"
)
Compose = Callable[[list[str]], DictConfig]


def explain_missing(
    error: HydraException, lines: Sequence[str], parsed: Sequence[Override], compose: Compose, sweeps_groups: bool
) -> None:
    """Raise `UserError` where Hydra found no key for one of the overrides, with what may have been meant.

    `compose` gives the config with other overrides. Where a sweep varies the key's group other jobs may have the key:
    then only what nothing reads is refused.
    """
    refuse_second_choice(error, parsed)
    refused = REFUSED.match(str(error))
    missing = next((one for one in parsed if refused is not None and one.key_or_group == refused[1]), None)
    if missing is None or missing.is_hydra_override():
        return
    kept = [(line, one) for line, one in zip(lines, parsed, strict=True) if one is not missing or not one.is_delete()]
    try:
        config = compose([added(line, one) for line, one in kept])
    except HydraException:  # of something else that is wrong
        return
    path = tuple(str(missing.key_or_group).split("."))
    if missing.is_delete():
        raise not_there(str(missing.input_line), path, config)
    refuse_unread(config, texts_of_sweep(parsed))
    if not (sweeps_groups and path[0] in {one.key_or_group for one in parsed}):
        raise not_there_yet(str(missing.input_line), path, missing.value(), config) from error


def refuse_groups(root: str, parsed: Sequence[Override]) -> None:
    """Raise `UserError` for a choice from a group where a root config composes none, and for one typed as a path."""
    composes_none = root in roots() and defaults_of(root).keys() == {"hydra"}
    for one in parsed:
        group, _, below = str(one.key_or_group).partition("/")
        if composes_none and group in groups() and group != "hydra" and not isinstance(one.value(), dict):
            raise UserError(f"{one.input_line}: kd-{root} chooses no {group}; there are {', '.join(all_keys(root))}")
        inside = below in groups_inside(conf_dir() / group)
        if below and one.package is None and not inside and f"{group}/{below}/{one.value()}" in files_of(group):
            raise UserError(f"{one.input_line}: {group}={below}/{one.value()} chooses it")


def refuse_second_choice(error: HydraException, parsed: Sequence[Override]) -> None:
    """Raise `UserError` where a + in front of a group would choose a value beside the one that it has."""
    twice = TWICE.match(str(error))
    for one in parsed:
        if twice is not None and one.key_or_group == twice[1] and one.is_add():
            line = str(one.input_line)
            raise UserError(f"{line}: {twice[1]} has a value already; {line.lstrip('+')} chooses another one")


def added(line: str, override: Override) -> str:
    """An override of a key's value as one that adds the key where it is not there."""
    chooses = override.key_or_group in groups() and not isinstance(override.value(), dict)
    sets_a_key = override.type is OverrideType.CHANGE and not override.is_hydra_override() and not chooses
    return f"++{line}" if sets_a_key and not line.startswith("+") else line


def not_there(line: str, path: Path, config: DictConfig) -> UserError:
    """What is said of a key that is not there to be changed or taken away."""
    values, root = values_and_root(config)
    wrong = next((i for i in range(len(path)) if at(path[: i + 1], values) is None), len(path) - 1)
    meant = similar(path, wrong, values, root)
    hint = f"; did you mean {' or '.join(meant)}?" if meant else ""
    return UserError(f"{line}: this run has no {'.'.join(path[: wrong + 1])}{hint}")


def not_there_yet(line: str, path: Path, value: Any, config: DictConfig) -> UserError:
    """What is said of a key, or of those of a mapping, that the config could have."""
    values, _ = values_and_root(config)
    inner = [(*path, *below) for below in keys_of(value)] if isinstance(value, dict) else []
    are_arguments = [refuse_argument(key, values) for key in (path, *inner)]
    if not any(are_arguments) and holds_parts_by_name(path[0]):
        bringing = [name.replace("/", "=", 1) for name in files_of(path[0]) if path[1] in packaged(name)]
        if len(path) > 2 and bringing:
            return UserError(f"{line}: this run has no {'.'.join(path[:2])}; choose {' or '.join(bringing)} besides")
        if not isinstance(at(path, values), dict):
            return not_there(line, path, config)
    sign = "++" if inner else "+"  # a mapping may be there in part
    return UserError(f"{line}: is not in the config yet; {sign}{line} adds it")


def refuse_argument(path: Path, values: Mapping[str, Any]) -> bool:
    """Whether a key is an argument of what is made by a `_target_`. Raises UserError where that does not take it."""
    made = [i for i in range(len(path)) if isinstance(part := at(path[:i], values), dict) and TARGET in part]
    if not made:
        return False
    above, name = path[: made[-1]], path[made[-1]]
    refuse_further(str(at(above, values)[TARGET]), name, shown(at((*above, name), values)), ".".join(above))
    return True


def refuse_swept(config: DictConfig, parsed: Sequence[Override], sweeps_groups: bool) -> None:
    """Raise `UserError` for a key that nothing reads, of a config or among those that a multirun varies besides."""
    varied = {str(one.key_or_group): str(one.input_line).partition("=")[2] for one in parsed if one.is_sweep_override()}
    varied |= {str(key).lstrip("+"): str(text) for key, text in (config.hydra.sweeper.get("params") or {}).items()}
    choices = groups() | set(config.hydra.runtime.choices)
    changed = copy.deepcopy(config) if varied else config
    new: list[Path] = []
    for key, text in varied.items():
        with suppress(OmegaConfBaseException):  # of a key below a value, which is told of where a job is composed
            if key not in choices and OmegaConf.select(config, key, throw_on_resolution_failure=False) is None:
                OmegaConf.update(changed, key, text, force_add=True)
                new.append(tuple(key.split(".")))
    refuse_unread(changed, texts_of_sweep(parsed))
    if new and not sweeps_groups:
        values, _ = values_and_root(changed)
        for path in new:
            refuse_argument(path, values)


def texts_of_sweep(parsed: Sequence[Override]) -> list[str]:
    """What a multirun varies, as typed: it may refer to keys of the config that all jobs share."""
    return [str(one.input_line) for one in parsed if one.is_sweep_override()]
