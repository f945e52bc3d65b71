"""Weights in files: read from the formats in use, written as safetensors.

Names are compared without what wrappers put into them, such as "module." of DistributedDataParallel and "_orig_mod." of
torch.compile, wherever they stand. A checkpoint of a whole training (Lightning's, mdistiller's) yields its student.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.models.normalization import note_training, read_normalization
from kd_lightning.models.stem import stem_of
from kd_lightning.models.weights.checkpoint_files import Group, plain_names, read_file
from kd_lightning.models.weights.classifiers import absent_bias, fits_but_for_classifier
from kd_lightning.models.weights.readings import Reading, readings, usual
from kd_lightning.models.weights.renaming import Names, renamed
from kd_lightning.system.checksums import with_checksum
from kd_lightning.system.files import replacing, set_aside_folder, synced
from kd_lightning.terminal import say_once

LISTED = 3
LISTED_ADDRESSES = 6


def load_weights(
    model: nn.Module,
    path: str | Path,
    key: str = "path",
    *,
    weights_key: str | None = None,
    weights_map: Names | None = None,
    new_classifier: bool = False,
) -> dict[str, str]:
    """Load the file's weights into `model`, strictly and all or nothing; returns the file's metadata.

    Left out are the count of an average, auxiliary classifiers that the model is without, and counters that weights of
    before PyTorch 0.4.1 do not have. The bias of a classifier that was trained without is 0.

    Args:
        model: what gets the weights.
        path: the file.
        key: how an error names the setting.
        weights_key: where in the file they are, such as "state_dict_ema"; None: in the usual place, and not averaged
            where both kinds are there.
        weights_map: what is called otherwise in the file, `{"backbone": "", "head": "fc"}`; see `renamed`. A prefix
            that all names have, or a whole model's, needs none.
        new_classifier: whether a classifier of other classes in the file is left out, and the model's stays as it is.

    Raises a UserError, with the model untouched, unless every entry of the model's state dict is in the file with its
    shape and nothing is left over.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from kd_lightning.models import load_weights, save_weights
        >>> one, other = torch.nn.Linear(4, 2), torch.nn.Linear(4, 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(one, Path(folder) / "one.safetensors", {"model": "linear"})
        ...     load_weights(other, Path(folder) / "one.safetensors")["model"]
        'linear'
        >>> torch.equal(other.weight, one.weight)
        True
    """
    groups = read_groups(path, key, weights_map)
    found = readings(groups, model)
    for reading in found:
        _refuse_other_kinds(reading, model, f"{key}={path}")
    chosen, others = _choose(found, path, key, weights_key)
    bias = absent_bias(chosen, model)
    if bias is not None:
        weight = chosen.entries[f"{bias.removesuffix('.bias')}.weight"]
        chosen = replace(chosen, entries={**chosen.entries, bias: weight.new_zeros(chosen.own[bias])})
    kept = [] if chosen.fits else fits_but_for_classifier(chosen, model)
    if not chosen.fits and not (kept and new_classifier):
        refused = _refusal(model, chosen, f"{key}={path}", f"{key}_map", of_other_classes=bool(kept))
        raise UserError(refused if len(groups) == 1 else f"{refused}; tensors are under {_addresses(groups)}")
    role = key.partition(".")[0]
    if others:
        say_once(role, f"weights: those under {_shown(chosen)} of {path}; {key}_key={others[0].address} takes others")
    if bias is not None:
        say_once(role, f"weights: {path} has no {bias}; the classifier was trained without, and it is 0")
    if kept:
        say_once(role, f"weights: all of {path} but the classifier ({', '.join(kept)}), which is new")
    state, names = model.state_dict(), plain_names({name: name for name in model.state_dict()})
    state.update({names[name]: value for name, value in chosen.entries.items() if _belongs(name, value, chosen)})
    model.load_state_dict(state)
    note_training(model, read_normalization(chosen.metadata))
    return chosen.metadata


def read_groups(path: str | Path, key: str, weights_map: Names | None) -> list[Group]:
    """All tensors of a file, by other names where some are given. Raises UserError as `read_file` and `renamed`."""
    groups = read_file(Path(path), key)
    return groups if weights_map is None else renamed(groups, weights_map, f"{key}_map")


def classes_in(
    model: nn.Module,
    path: str | Path,
    key: str = "path",
    *,
    weights_key: str | None = None,
    weights_map: Names | None = None,
) -> int | None:
    """How many classes the classifier of a file has, 0 for none at all, where the file fits but for that; else None.

    Raises UserError as `load_weights` does for what cannot be read.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from kd_lightning.models import create_model, save_weights
        >>> from kd_lightning.models.weights.weights import classes_in
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(create_model("resnet8", num_classes=100), Path(folder) / "hundred.safetensors")
        ...     classes_in(create_model("resnet8", num_classes=10), Path(folder) / "hundred.safetensors")
        100
    """
    chosen, _ = _choose(readings(read_groups(path, key, weights_map), model), path, key, weights_key)
    left_out = [] if chosen.fits else fits_but_for_classifier(chosen, model)
    weights = [chosen.entries.get(f"{name}.weight") for name in left_out]
    return next((0 if weight is None else len(weight) for weight in weights), None)


def save_weights(model: nn.Module, path: str | Path, metadata: Mapping[str, object] | None = None) -> None:
    """Write the model's state dict as safetensors, in one rename: a half-written file never bears the name.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from kd_lightning.models import load_weights, save_weights
        >>> one, other = torch.nn.Linear(4, 2), torch.nn.Linear(4, 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(one, Path(folder) / "one.safetensors", {"model": "linear"})
        ...     load_weights(other, Path(folder) / "one.safetensors")["model"]
        'linear'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Copies, since safetensors refuses entries that share memory, as tied weights do.
    entries = {name: value.to("cpu", copy=True).contiguous() for name, value in _plain_state(model).items()}
    # Not safetensors' own save_file, which makes files that only their owner can read.
    content = with_checksum(save(entries, {name: str(value) for name, value in (metadata or {}).items()}))
    set_aside_folder(path)
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)
        synced(unfinished)


def state_sha256(model: nn.Module) -> str:
    """Digest of names, types, shapes and values of the state dict: the same on any device and from any file format.

    Examples:
        >>> import torch
        >>> from kd_lightning.models import state_sha256
        >>> one, other = torch.nn.Linear(4, 2), torch.nn.Linear(4, 2)
        >>> state_sha256(one) == state_sha256(other)
        False
    """
    digest = hashlib.sha256()
    for name, value in sorted(_plain_state(model).items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _plain_state(model: nn.Module) -> dict[str, Tensor]:
    return plain_names({name: value.detach() for name, value in model.state_dict().items()})


def _choose(
    found: Sequence[Reading], path: str | Path, key: str, weights_key: str | None
) -> tuple[Reading, list[Reading]]:
    """The reading to load, and others that hold other numbers and would fit too; without any that fits the likeliest.

    Raises a UserError where nothing lies under `weights_key`, or where without one there is no telling.
    """
    asked = [reading for reading in found if weights_key is None or reading.lies_under(weights_key)]
    if not asked:
        raise UserError(f"{key}_key={weights_key}: nothing is there in {path}; {_what_holds(found)}")
    fitting = [reading for reading in asked if reading.fits]
    if not fitting:
        return max(asked, key=lambda reading: reading.likeness), []
    chosen = usual(fitting)
    if chosen is None:
        named = " and ".join(map(_shown, fitting[:LISTED_ADDRESSES]))
        raise UserError(f"{key}={path}: weights that fit are under {named}; choose with {key}_key={_shown(fitting[0])}")
    others = [] if weights_key is not None else [one for one in fitting if not one.is_same_as(chosen)]
    return chosen, others


def _refuse_other_kinds(reading: Reading, model: nn.Module, setting: str) -> None:
    """Raise UserError for entries of a model that are no real dense numbers, or whole ones for weights that are not."""
    floating = plain_names({name: value.is_floating_point() for name, value in model.state_dict().items()})
    for name, value in reading.entries.items() if reading.fits else ():
        is_odd = value.is_complex() or value.is_meta or value.is_quantized or value.layout != torch.strided
        if is_odd or (floating.get(name, False) and not value.is_floating_point()):
            kind = "meta" if value.is_meta else "quantized" if value.is_quantized else str(value.dtype).split(".")[1]
            layout = "" if value.layout == torch.strided else f"{str(value.layout).split('.')[1]} "
            raise UserError(f"{setting}: {name} is {layout}{kind}; save the weights as dense floats")


def _belongs(name: str, value: Tensor, chosen: Reading) -> bool:
    return name in chosen.own and value.shape == chosen.own[name]


def _refusal(model: nn.Module, chosen: Reading, setting: str, names: str, *, of_other_classes: bool) -> str:
    """Why these are not the weights of a model."""
    own, held = chosen.own, chosen.entries
    misshapen = [f"{name} {tuple(held[name].shape)} for {own[name]}" for name in chosen.misshapen]
    problems = [
        f"{len(found)} {kind} ({', '.join(found[:LISTED])}{', …' if len(found) > LISTED else ''})"
        for kind, found in (
            ("missing", chosen.missing),
            ("unexpected", chosen.unexpected),
            ("of another shape", misshapen),
        )
        if found
    ]
    remedy = "give the model and the number of classes that the file was trained with"
    if chosen.missing and chosen.unexpected:
        remedy = f"{remedy}, or {names}={{old: new}} for what is called otherwise"
    if of_other_classes:
        remedy = (
            "all but the classifier fits: give the number of classes that the file was trained with, or have it "
            "trained further with a new classifier, as a student is, and a teacher with finetune=whole"
        )
    if stem_of(model) is not None:
        remedy = f"the model has the stem {stem_of(model)}, and the file may be of its own one; {remedy}"
    if "conversions" in chosen.metadata:
        remedy = (
            "the file is of a converted network: kd_lightning.conversions.load_converted makes the conversions first"
        )
    place = f", under {chosen.address}," if chosen.address else ""
    return (
        f"{setting}: these are not the weights{place} of this {type(model).__name__}: entries {'; '.join(problems)}; "
        f"{remedy}"
    )


def _addresses(groups: Sequence[Group]) -> str:
    """Where a file holds tensors, the most first."""
    largest = sorted(groups, key=lambda group: len(group.tensors), reverse=True)
    return ", ".join(group.address or "no key" for group in largest[:LISTED_ADDRESSES])


def _what_holds(found: Sequence[Reading]) -> str:
    """Where a file holds weights that fit, or any tensors."""
    fitting = [reading for reading in found if reading.fits]
    largest = sorted(fitting or found, key=lambda reading: len(reading.entries), reverse=True)
    named = ", ".join(dict.fromkeys(map(_shown, largest[:LISTED_ADDRESSES])))
    return f"{'weights that fit' if fitting else 'tensors'} are under {named}"


def _shown(reading: Reading) -> str:
    return reading.address or "no key"
