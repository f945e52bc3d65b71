"""--help: the values of each group, and all keys with what the comments in the configs say of them."""

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from string import Template
from typing import Any

import yaml
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from kd_lightning.config.comments import LOADER
from kd_lightning.config.composition import own_folders
from kd_lightning.config.explanations import ConfigFiles, Key, Said
from kd_lightning.experiment.config import as_typed, conf_dir

WIDTH = 120


@contextmanager
def explained() -> Iterator[None]:
    """Within, this is what Hydra prints for --help; its own copies all configs anew for each group that it lists."""
    before = Hydra.get_help

    def get_help(self: Hydra, help_cfg: DictConfig, cfg: DictConfig, args_parser: Any, resolve: bool) -> str:
        hydra: Any = HydraConfig.get()
        files = ConfigFiles([*own_folders(hydra), conf_dir()])
        chosen = {str(group): str(name) for group, name in hydra.runtime.choices.items() if name is not None}
        values: Any = OmegaConf.to_container(cfg, resolve=False)
        said = files.explanations(str(hydra.job.config_name), chosen, values)
        return Template(help_cfg.template).safe_substitute(
            FLAGS_HELP=self.format_args_help(args_parser),
            APP_CONFIG_GROUPS="\n".join([*groups(files), *values_of_groups(files, as_typed(hydra.overrides.task))]),
            CONFIG=commented(OmegaConf.to_yaml(cfg, resolve=resolve), said),
        )

    setattr(Hydra, "get_help", get_help)  # noqa: B010
    try:
        yield
    finally:
        setattr(Hydra, "get_help", before)  # noqa: B010


def groups(files: ConfigFiles) -> Iterator[str]:
    for group, names in files.groups.items():
        yield f"{group}: {', '.join(names)}"


def values_of_groups(files: ConfigFiles, typed: list[str]) -> Iterator[str]:
    """For each group that the overrides choose of, what its values are."""
    keys = [override.lstrip("+~").partition("=")[0] for override in typed]
    for group in dict.fromkeys(key for key in keys if key in files.groups):
        longest = max(map(len, files.groups[group]))
        yield f"\n== Values of {group} ==\n"
        for name in files.groups[group]:
            file = files.read(f"{group}/{name}")
            header = " ".join(file.header) if file is not None else ""
            yield f"  {name:<{longest}}  {textwrap.shorten(header, WIDTH - longest - 4, placeholder=' …')}".rstrip()


def commented(text: str, said: Mapping[Key, Said]) -> str:
    """The text of a yaml file with what is said of its keys."""
    lines = text.splitlines()
    for line, path in positions(yaml.compose(text, LOADER), ()):
        of_key = said.get(path, Said())
        indent = " " * (len(lines[line]) - len(lines[line].lstrip()))
        above = textwrap.wrap(of_key.above, WIDTH - len(indent) - 2)
        beside = f"  # {of_key.beside}" if of_key.beside else ""
        lines[line] = "\n".join([*(f"{indent}# {part}" for part in above), f"{lines[line]}{beside}"])
    return "\n".join(lines) + "\n"


def positions(node: yaml.Node, path: Key) -> Iterator[tuple[int, Key]]:
    """In which line each key of a yaml file stands."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        yield key.start_mark.line, (*path, str(key.value))
        yield from positions(value, (*path, str(key.value)))
