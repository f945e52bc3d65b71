"""Which conversions a network has been through: noted on it, stored beside its weights, made again on a fresh one."""

import copy
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kd_lightning.batch import Batch
from kd_lightning.conversions.conversion import Conversion
from kd_lightning.conversions.making import Entry, arguments_of, made, name_of, plain
from kd_lightning.errors import UserError
from kd_lightning.models import load_weights
from kd_lightning.models.normalization import carry_normalization, stored_normalization
from kd_lightning.models.resolution import carry_image_size, stored_image_size
from kd_lightning.models.stem import note_stem, stem_of, stored_stem
from kd_lightning.models.weights.checkpoint_files import read_metadata

KEY = "conversions"  # in the metadata of a file of weights
PARTS = {"conversion": str, "arguments": dict, "record": dict}


def converted(
    network: nn.Module,
    conversion: Conversion,
    batches: Iterable[Batch],
    sources: Mapping[str, nn.Module],
) -> tuple[nn.Module, Entry]:
    """A converted copy of a trained network, and the entry that `replayed` makes the same change from.

    The network itself stays as it is. `batches` and `sources` are what the conversion's `fit` gets.

    Raises UserError for what is no conversion that can be found and made again.

    Examples:
        >>> import torch
        >>> from kd_lightning.conversions import ReplaceHead, converted
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> rebuilt, entry = converted(network, ReplaceHead(num_classes=3), [(torch.rand(2, 1, 8, 8), None)], {})
        >>> entry["conversion"], entry["arguments"]
        ('kd_lightning.conversions.ReplaceHead', {'num_classes': 3, 'seed': 0})
    """
    entry = {"conversion": name_of(conversion), "arguments": arguments_of(conversion)}
    with torch.random.fork_rng([]):
        record = conversion.fit(network, batches, sources)
    entry["record"] = plain(record, f"{entry['conversion']}.fit")
    changed = applied(conversion, copy.deepcopy(network), entry)
    return changed, entry


def replayed(
    network: nn.Module, entries: Sequence[Entry], *, trusted: Collection[str] = (), key: str = "conversions"
) -> nn.Module:
    """A fresh network with the same conversions as another of its kind; its weights are loaded afterwards.

    The network is changed in place where a conversion does so. Classes of this package are made as an entry says, any
    other only where its dotted name is `trusted`: its module is not even imported otherwise. `key` is how an error
    names where the entries are from.

    Raises UserError for a class that is not trusted, or not there.

    Examples:
        >>> import torch
        >>> from kd_lightning.conversions import ReplaceHead, converted, replayed
        >>> def make(): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> rebuilt, entry = converted(make(), ReplaceHead(num_classes=3), [(torch.rand(2, 1, 8, 8), None)], {})
        >>> again = replayed(make(), [entry])
        >>> again.load_state_dict(rebuilt.state_dict())
        <All keys matched successfully>
    """
    for entry in entries:
        network = applied(made(entry, trusted, key), network, entry)
    return network


def load_converted(
    network: nn.Module, path: str | Path, key: str = "path", *, trusted: Collection[str] = ()
) -> nn.Module:
    """A fresh network with the conversions that a file of weights names, and with its weights.

    See `replayed` for what is `trusted`, and `kd_lightning.models.load_weights` for what is loaded. Raises UserError.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from kd_lightning.conversions import ReplaceHead, converted, load_converted, stored_conversions
        >>> from kd_lightning.models import save_weights
        >>> def make(): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> rebuilt, _ = converted(make(), ReplaceHead(num_classes=3), [(torch.rand(2, 1, 8, 8), None)], {})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(rebuilt, Path(folder) / "rebuilt.safetensors", stored_conversions(rebuilt))
        ...     again = load_converted(make(), Path(folder) / "rebuilt.safetensors")
        >>> torch.equal(again[1].weight, rebuilt[1].weight)
        True
    """
    entries = read_conversions(read_metadata(Path(path), key), f"{key}={path}")
    network = replayed(network, entries, trusted=trusted, key=f"{key}={path}")
    load_weights(network, path, key)
    return network


def conversions_of(network: nn.Module) -> list[Entry]:
    """The conversions that a network has been through, the first one first.

    Examples:
        >>> import torch
        >>> from kd_lightning.conversions import conversions_of
        >>> conversions_of(torch.nn.Linear(4, 2))
        []
    """
    return list(getattr(network, "_conversions", []))


def note_conversions(network: nn.Module, entries: Sequence[Entry]) -> None:
    """Note what a network has been through, where another takes its place."""
    network._conversions = list(entries)  # type: ignore[assignment]  # no part of its state


def stored_conversions(network: nn.Module) -> dict[str, str]:
    """A network's conversions as JSON, to lie beside its weights; empty where it has none.

    Examples:
        >>> import torch
        >>> from kd_lightning.conversions import stored_conversions
        >>> stored_conversions(torch.nn.Linear(4, 2))
        {}
    """
    entries = conversions_of(network)
    return {KEY: json.dumps(entries)} if entries else {}


def in_key(entries: Sequence[Entry]) -> dict[str, Any]:
    """What conversions add to a key, empty for none; classes stand as `_target_`, so that their source decides."""
    made_by = [{"_target_": entry["conversion"], **entry["arguments"]} for entry in entries]
    records = [entry["record"] for entry in entries]
    return {KEY: {"made_by": made_by, "records": records}} if entries else {}


def stored_beside(network: nn.Module) -> dict[str, str]:
    """All that lies beside a network's weights: how it resizes and normalises, its stem, what it has been through.

    Examples:
        >>> import torch
        >>> from kd_lightning.conversions import stored_beside
        >>> from kd_lightning.models import normalize_inputs
        >>> stored_beside(normalize_inputs(torch.nn.Identity(), mean=[0.5], std=[0.25]))
        {'mean': '[0.5]', 'std': '[0.25]'}
    """
    of_inputs = {**stored_image_size(network), **stored_normalization(network)}
    return {**of_inputs, **stored_stem(network), **stored_conversions(network)}


def read_conversions(metadata: Mapping[str, str], key: str = "metadata") -> list[Entry]:
    """What `stored_conversions` left beside the weights; empty where nothing lies there. Raises UserError.

    Examples:
        >>> from kd_lightning.conversions import read_conversions
        >>> read_conversions({"model": "resnet8"})
        []
    """
    if KEY not in metadata:
        return []
    try:
        entries = json.loads(metadata[KEY])
    except json.JSONDecodeError:
        entries = None
    sound = isinstance(entries, list) and all(
        isinstance(entry, dict) and all(isinstance(entry.get(name), kind) for name, kind in PARTS.items())
        for entry in entries
    )
    if not sound:
        raise UserError(f"{key}: says of its conversions what cannot be read; save it again")
    return list(entries)


def applied(conversion: Conversion, network: nn.Module, entry: Entry) -> nn.Module:
    """The network converted, with what was noted on it; the random state stays as it is. Raises UserError."""
    before, mode = conversions_of(network), network.training
    with torch.random.fork_rng([]):
        changed: object = conversion.apply(network, copy.deepcopy(entry["record"]))
    if not isinstance(changed, nn.Module):
        raise UserError(
            f"{entry['conversion']}: its apply gave {type(changed).__name__}, no torch.nn.Module; return the network"
        )
    carry_normalization(network, changed)
    carry_image_size(network, changed)
    note_stem(changed, stem_of(network))
    note_conversions(changed, [*before, entry])
    return changed.train(mode)
