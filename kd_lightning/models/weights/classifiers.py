"""The layer that gives a model's logits, as far as its entries alone tell."""

from torch import nn

from kd_lightning.models.weights.checkpoint_files import plain_names
from kd_lightning.models.weights.readings import Reading

# What classifiers are called, where a file's is built otherwise than the model's.
HEADS = ("fc", "classifier", "head", "heads", "head_dist", "linear", "last_linear", "logits")


def fits_but_for_classifier(reading: Reading, model: nn.Module) -> list[str]:
    """The paths of the model's classifiers where nothing else keeps a file from fitting; else empty.

    Of several classifiers, such as a distilled DeiT's, all are those of the same two numbers of classes.
    """
    layers = _linear_layers(model)
    wrong = {*reading.misshapen, *reading.missing}
    concerned = {path: layer for path, layer in layers.items() if wrong & _entries(path)}
    if not concerned or wrong - set().union(*map(_entries, concerned)):
        return []
    if any(reading.entries[name].shape[1:] != reading.own[name][1:] for name in reading.misshapen):
        return []
    classes = {(len(layer.weight), _classes_in(reading, path)) for path, layer in concerned.items()}
    here, there = classes.pop()
    if classes or (there is None and here != len(list(layers.values())[-1].weight)):
        return []
    tops = {path.partition(".")[0] for path in concerned} | set(HEADS)
    return sorted(concerned) if all(name.partition(".")[0] in tops for name in reading.unexpected) else []


def absent_bias(reading: Reading, model: nn.Module) -> str | None:
    """The classifier's bias where nothing else is missing and nothing else is wrong: one was trained without."""
    path = next(reversed(_linear_layers(model)), None)
    is_alone = reading.missing == [f"{path}.bias"] and not reading.unexpected and not reading.misshapen
    return f"{path}.bias" if is_alone else None


def _entries(path: str) -> set[str]:
    return {f"{path}.weight", f"{path}.bias"}


def _linear_layers(model: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Linear layers and 1x1 convolutions by their plain paths, in order."""
    found: dict[str, nn.Linear | nn.Conv2d] = {}
    for name, module in model.named_modules():
        is_pointwise = isinstance(module, nn.Conv2d) and set(module.kernel_size) == {1}
        if isinstance(module, nn.Linear) or is_pointwise:
            found[name] = module
    return plain_names(found)


def _classes_in(reading: Reading, path: str) -> int | None:
    weight = reading.entries.get(f"{path}.weight")
    return None if weight is None else len(weight)
