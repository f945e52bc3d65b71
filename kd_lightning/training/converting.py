"""Carrying out a conversion: its record is found in the store, or made now."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from torch import nn

from kd_lightning.conversions import Entry, conversions_of, converted, replayed
from kd_lightning.conversions.entries import in_key
from kd_lightning.conversions.making import arguments_of, name_of
from kd_lightning.data import DataModule
from kd_lightning.models.weights.weights import state_sha256
from kd_lightning.networks import Network
from kd_lightning.store import CannotKeep, key_of
from kd_lightning.system.files import write_json
from kd_lightning.system.records import read_record
from kd_lightning.terminal import is_first_rank, say
from kd_lightning.training.context import Context
from kd_lightning.training.measuring import TestedNetwork
from kd_lightning.training.steps import Convert, Trained

KIND, RECORD = "conversions", "record.json"


def obtain(step: Convert, context: Context) -> Trained:
    """The converted network: by a record that an earlier run made, or by one that is made now."""
    network = step.of.network
    assert network is not None
    key, store = key_of_step(step, context), context.store

    def read(home: Path) -> Entry | None:
        record = read_record(home / RECORD, {"entry": dict}, strict=True)
        if record is None:
            return None
        say(step.name, f"{name_of(step.conversion)}, found ({home.name})")
        return record["entry"]

    def make(folder: Path) -> Entry:
        say(step.name, f"{name_of(step.conversion)} ({folder.stem})")
        entry = fitted(step, network, context)
        if is_first_rank():
            write_json(folder / RECORD, {"entry": entry, "cache_key": key})
        return entry

    try:
        entry = store.obtain(KIND, key, make, read, "it is made anew")
    except CannotKeep:
        entry = fitted(step, network, context)
    changed = applied_to(network, entry)
    return Trained(step.name, trusting(step), TestedNetwork(changed, {}), key=key)


def fitted(step: Convert, network: nn.Module, context: Context, most: int | None = None) -> Entry:
    """The entry of a conversion, which sees so many of the training batches, all where None."""
    sources = {name: one.network for name, one in step.sources.items()}
    there = {name: source for name, source in sources.items() if source is not None}
    _, entry = converted(network, step.conversion, islice(batches(context.data), most), there)
    return json.loads(json.dumps(entry))  # as it is read again


def applied_to(network: nn.Module, entry: Entry) -> nn.Module:
    """A converted copy of a trained network."""
    return replayed(copy.deepcopy(network), [entry], trusted=[entry["conversion"]])


def rehearsed(step: Convert, context: Context) -> Trained:
    """The same of a network that has learned nothing, by one batch; nothing of it is kept."""
    network = step.of.network
    assert network is not None
    changed = applied_to(network, fitted(step, network, context, most=1))
    return Trained(step.name, trusting(step), TestedNetwork(changed, {}))


def looked_up(step: Convert) -> Trained:
    """Its network as it is described, for what reads the conversions beside weights."""
    return Trained(step.name, trusting(step), None)


def trusting(step: Convert) -> Network:
    """The network as the experiment describes it, whose files of weights may name the conversion's class."""
    described = step.of.described
    assert isinstance(described, Network)
    return replace(described, trusted=[*(described.trusted or []), name_of(step.conversion)])


def key_of_step(step: Convert, context: Context) -> dict[str, Any]:
    """Everything that decides the record of a conversion, as plain values."""
    network, described = step.of.network, step.of.described
    assert network is not None
    assert isinstance(described, Network)
    conversion = {"_target_": name_of(step.conversion), **arguments_of(step.conversion)}
    values = {
        **described.named_model(),
        "data": context.data.fingerprint(),
        "weights": state_sha256(network),
        "conversion": conversion,
        **in_key(conversions_of(network)),
        "sources": {name: state_sha256(one.network) for name, one in step.sources.items() if one.network is not None},
    }
    starts_from = {} if step.of.key is None else {step.of.name: dict(step.of.key)}
    return key_of(values, context.settings["data"], starts_from=starts_from)


def batches(data: DataModule) -> Iterator[Any]:
    """The training batches as a network sees them, on the CPU."""
    after: Callable[[Any, int], Any] = data.on_after_batch_transfer
    for batch in data.in_this_process().train_dataloader():
        yield after(batch, 0)
