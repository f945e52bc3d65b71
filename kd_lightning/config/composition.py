"""How Hydra composes configs here: a user's own come first, and a multirun knows the groups that it sweeps over."""

import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from kd_lightning.config.conf import as_typed, conf_dir
from kd_lightning.config.missing import explain_missing, refuse_groups, refuse_swept
from kd_lightning.config.packaged import defaults_of, holds_parts_by_name, packaged, without_defaults
from kd_lightning.config.parts.recipe import OWN_PARTS
from kd_lightning.config.refusals.bad_input import raise_missing_key
from kd_lightning.config.targets import leave_out_replaced, with_lists_as_objects, with_new_targets
from kd_lightning.config.unread import EXTRA
from kd_lightning.errors import UserError

NETWORKS = ("student", "teacher")
PROBE, OF_PROBE = re.compile(r"probe=(?!\{|null$)"), re.compile(r"\+*probe\.(?!data=)")  # data, and their own keys
OWN = ("command-line", "hydra.searchpath in command-line", "hydra.searchpath in main")  # what Hydra calls these sources
OWN_KEY = re.compile(rf"\+*{EXTRA}[.=]")
OWN_RECIPE = re.compile("|".join(rf"{owner}\.({'|'.join(parts)})[.=]" for owner, parts in OWN_PARTS.items()))


@cache
def compose_own_configs_first() -> None:
    """Change Hydra for this process, once: launchers compose their jobs in processes of their own."""
    initialize, initialize_caching = ConfigRepository.initialize_sources, CachingConfigRepository.initialize_sources
    load = ConfigLoaderImpl.load_configuration

    def own_first(self: ConfigRepository, config_search_path: ConfigSearchPath) -> None:
        initialize(self, config_search_path)
        if any(Path(source.path) == conf_dir() for source in self.sources):
            self.sources.sort(key=lambda source: source.provider not in OWN)

    def initialize_uncached(self: CachingConfigRepository, config_search_path: ConfigSearchPath) -> None:
        initialize_caching(self, config_search_path)
        self.cache.clear()  # the root config may be among those that `hydra.searchpath` adds

    def with_swept_groups(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], run_mode: RunMode, **options: Any
    ) -> DictConfig:
        firsts = first_choices(self, overrides) if run_mode == RunMode.MULTIRUN else overrides
        parser = OverridesParser.create(config_loader=self)
        lines = with_lists_as_objects(firsts, parser.parse_overrides(firsts))
        parsed = parser.parse_overrides(lines)
        chosen = with_own_keys(with_new_targets(lines, parsed))
        refuse_groups(config_name or "", parsed)
        try:
            config = load(self, config_name, chosen, run_mode, **options)
        except HydraException as error:
            if config_name is not None:
                compose = partial(load, self, config_name, run_mode=run_mode, **options)
                explain_missing(error, chosen, parsed, compose, sweeps_groups=firsts != overrides)
            if firsts != overrides:
                raise_missing_key(error, firsts, "job 0")
            raise
        leave_out_replaced(config, parsed)
        if config_name is not None:
            check_own_configs(config)
        if config_name is not None and options.get("validate_sweep_overrides", True):  # else it looks for hydra.mode
            refuse_swept(config, parsed, sweeps_groups=firsts != overrides)
        if chosen != overrides:
            with open_dict(config.hydra):
                typed = dict(zip(chosen, overrides, strict=True))
                config.hydra.overrides.task = [typed.get(line, line) for line in as_typed(config.hydra.overrides.task)]
        return config

    ConfigRepository.initialize_sources = own_first  # type: ignore[method-assign]
    CachingConfigRepository.initialize_sources = initialize_uncached  # type: ignore[method-assign]
    setattr(ConfigLoaderImpl, "load_configuration", with_swept_groups)  # noqa: B010


def with_own_keys(lines: Sequence[str]) -> list[str]:
    """The same overrides, those of a user's own keys, and of a network's own recipe, as ones that add the key."""
    added = (OWN_KEY, OWN_RECIPE, OF_PROBE)
    named = [PROBE.sub(r"probe.data=", line) for line in lines]
    return [f"++{line.lstrip('+')}" if any(key.match(line) for key in added) else line for line in named]


def first_choices(loader: ConfigLoaderImpl, overrides: list[str]) -> list[str]:
    """The same overrides with the first of its values for each group that is swept over.

    What all jobs of a multirun share is composed with them, so that other overrides may set the groups' keys.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(overrides)
    return [first_choice(loader, override) or line for line, override in zip(overrides, parsed, strict=True)]


def first_choice(loader: ConfigLoaderImpl, override: Override) -> str | None:
    """The first value of a swept group as an override; None for whatever else."""
    if override.is_hydra_override():  # which Hydra refuses to sweep over
        return None
    if not override.is_sweep_override() or not loader.repository.group_exists(override.key_or_group):
        return None
    if not (isinstance(override.value(), ChoiceSweep) or override.is_discrete_sweep()):
        return None
    first = next(iter(override.sweep_string_iterator()), None)
    return None if first is None else f"{override.get_key_element()}={first}"


def own_folders(hydra: Any) -> list[Path]:
    """Where a user's own configs are, by Hydra's part of a config."""
    return [Path(source.path) for source in hydra.runtime.config_sources if source.provider in OWN]


def check_own_configs(config: DictConfig) -> None:
    """Raise `UserError` where a user's own file takes the place of a packaged one and leaves out what is needed.

    Needed are the keys of a group of settings, such as `student`; of what is instantiated, `_target_` alone.
    """
    hydra = config.hydra
    folders = own_folders(hydra)
    root = str(hydra.job.config_name)
    refuse_incomplete(root, needed_at_root, config, folders)
    for group, name in hydra.runtime.choices.items():
        part = config.get(group) if isinstance(group, str) and "/" not in group else None
        if isinstance(part, DictConfig) and isinstance(name, str) and "_target_" not in part:
            refuse_incomplete(f"{group}/{name}", needed_in_group, part, folders)


def refuse_incomplete(name: str, needed: Callable[[str], list[str]], part: DictConfig, folders: list[Path]) -> None:
    """Raise `UserError` where the config of this name is a user's own and lacks a needed key."""
    own = next((file for folder in folders if (file := folder / f"{name}.yaml").exists()), None)
    missing = [key for key in needed(name) if key not in part] if own is not None else []
    if missing:
        raise UserError(
            f"{own}: takes the place of the packaged {name}.yaml and leaves out {', '.join(missing)}; set them too, or "
            f"give the file another name and begin it with defaults: [{name.rpartition('/')[2]}, _self_]"
        )


# Of a network, which is as if they were null, false or 1 without them.
NOT_NEEDED = ("_target_", "trusted", "stem", "weights_map", "image_size", "finetune", "trained", "weight")


def needed_at_root(name: str) -> list[str]:
    """The keys of a root config, and the groups that it composes by default."""
    chosen = [group for group, choice in defaults_of(name).items() if choice and group != "hydra"]
    return [*chosen, *(key for key, value in without_defaults(packaged(name)).items() if value != {})]


def needed_in_group(name: str) -> list[str]:
    """The keys of a group's value; of what is instantiated `_target_` alone, of terms and callbacks by name none.

    Student and teacher are networks where they have no `_target_`.
    """
    keys, group = list(without_defaults(packaged(name))), name.partition("/")[0]
    if group in NETWORKS:
        return [
            key
            for key in keys
            if key not in (*NOT_NEEDED, *OWN_PARTS[group], *(("models",) if group == "student" else ()))
        ]
    if "_target_" in keys:
        return ["_target_"]
    return [] if holds_parts_by_name(group) else keys
