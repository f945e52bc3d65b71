"""Launching the ranks of a run."""

from collections.abc import Callable
from typing import Any

from lightning import Trainer
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from kd_lightning.system.peers import peers


class Launcher(_SubprocessScriptLauncher):
    """Lightning's launcher, with `Peers` in place of what kills all ranks without a word where one of them ends."""

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Trainer | None = None, **kwargs: Any) -> Any:
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
            peers.launched(self.procs)
        _set_num_threads_if_needed(num_processes=self.num_processes)
        return function(*args, **kwargs)


def launch_with_peers(trainer: Trainer) -> None:
    """Have a trainer launch its ranks so, where it does."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        arguments = (launcher.cluster_environment, launcher.num_processes, launcher.num_nodes)
        trainer.strategy._launcher = Launcher(*arguments)
