"""A remedy for Hydra 1.3.8, whose --help copies all configs anew for each group that it lists."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl

METHOD = "_parse_overrides_and_create_caching_repo"


@contextmanager
def configs_copied_once() -> Iterator[None]:
    """Within, Hydra lists the values of groups from one copy of all configs: a second, not four."""
    copying: Any = getattr(ConfigLoaderImpl, METHOD, None)
    if copying is None:  # another Hydra
        yield
        return

    @lru_cache
    def without_overrides(loader: ConfigLoaderImpl) -> Any:
        return copying(loader, None, [])

    def copied_once(loader: ConfigLoaderImpl, config_name: str | None, overrides: list[str]) -> Any:
        asks_for_values = config_name is None and not overrides
        return without_overrides(loader) if asks_for_values else copying(loader, config_name, overrides)

    setattr(ConfigLoaderImpl, METHOD, copied_once)
    try:
        yield
    finally:
        setattr(ConfigLoaderImpl, METHOD, copying)
