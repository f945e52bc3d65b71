"""What a curriculum told of each epoch: kept in checkpoints, and as a training goes on in curriculum.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from kd_lightning.curricula.curriculum import Account
from kd_lightning.errors import UserError
from kd_lightning.system.files import write_json
from kd_lightning.tracking.tensorboard.logger import log_decisions


class Accounts:
    """The accounts of a curriculum by epoch, and its knowledge graph, in plain values.

    An epoch's account is that of its beginning; its concepts are those of its end, once that has come.
    """

    def __init__(self, curriculum: str) -> None:
        self.curriculum = curriculum
        self.begin()

    def begin(self) -> None:
        """Forget everything: a training begins."""
        self.epochs: dict[int, Account] = {}
        self.graph: dict[str, Any] | None = None

    def tell(self, epoch: int, told: Account) -> None:
        """Keep what is told as an epoch begins. Raises UserError for what is no account."""
        self.epochs[epoch] = self._plain(told, epoch)

    def measured(self, epoch: int, told: Account) -> None:
        """Keep the concepts of what is told as an epoch ends. Raises UserError for what is no account."""
        self.epochs[epoch] = self.epochs[epoch]._replace(concepts=self._plain(told, epoch).concepts)

    def add(self, epoch: int, decision: str) -> None:
        """Keep what was decided after an epoch had begun."""
        told = self.epochs[epoch]
        self.epochs[epoch] = told._replace(decisions=[*told.decisions, decision])

    def see_graph(self, graph: Mapping[str, Any] | None) -> None:
        """Keep the knowledge graph. Raises UserError for what is none."""
        try:
            self.graph = None if graph is None else json.loads(json.dumps(dict(graph), allow_nan=False))
            if self.graph is not None:
                known = {node["id"] for node in self.graph["nodes"]}
                ends = {edge[end] for edge in self.graph["edges"] for end in ("source", "target")}
                if strange := ends - known:
                    raise ValueError(f"an edge leads to {next(iter(strange))}, which is no node")
        except (TypeError, ValueError, KeyError) as error:
            reason = f"has no {error.args[0]}" if isinstance(error, KeyError) else str(error)
            raise UserError(
                f"curriculum={self.curriculum}: its graph cannot be read ({reason}); give node-link data with nodes "
                "and edges in plain values, as networkx.node_link_data(graph, edges='edges')"
            ) from error

    def _plain(self, told: Account, epoch: int) -> Account:
        if not isinstance(told, Account):
            raise UserError(
                f"curriculum={self.curriculum}: account of epoch {epoch} is {type(told).__name__}; give a "
                "kd_lightning.curricula.Account"
            )
        numbers: dict[str, dict[str, float]] = {"values": {}, "concepts": {}}
        for field, found in numbers.items():
            for name, value in getattr(told, field).items():
                try:
                    found[str(name)] = float(value)
                except (TypeError, ValueError) as error:
                    raise UserError(
                        f"curriculum={self.curriculum}: account of epoch {epoch} has {field}.{name}={value!r:.40}; "
                        "give a number"
                    ) from error
        return Account(**numbers, teaches=[*map(str, told.teaches)], decisions=[*map(str, told.decisions)])

    def record(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        epochs = [{"epoch": epoch, **told._asdict()} for epoch, told in self.epochs.items()]
        return {"curriculum": self.curriculum, "epochs": epochs, "graph": self.graph}

    def state_dict(self) -> dict[str, Any]:
        return self.record()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.graph = state["graph"]
        told = [dict(one) for one in state["epochs"]]
        self.epochs = {one.pop("epoch"): Account(**one) for one in told}


class CurriculumFile(Callback):
    """Writes what a curriculum told so far, of each epoch as it begins, and all of it as the training ends.

    TensorBoard gets what was decided as a text, each epoch.
    """

    def __init__(self, path: Path, accounts: Accounts) -> None:
        self.path, self.accounts = path, accounts

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                log_decisions(logger, self.accounts.epochs[trainer.current_epoch].decisions, trainer.global_step)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and self.accounts.epochs:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, self.accounts.record())
