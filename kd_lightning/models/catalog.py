"""What can be known of a model by its name, before anything is built or downloaded."""

import difflib
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from kd_lightning.errors import UserError
from kd_lightning.models.zoo.names import CIFAR, DIGITS, ZOO

ModelName: TypeAlias = str | Callable[[], Any]  # which makes a network of one's own
IMAGENET_SIZE = (3, 224, 224)
OTHERS = "timm/NAME, torchvision/NAME or a mapping with _target_"


def check_model_name(name: ModelName, key: str = "name") -> None:
    """Raise a UserError with close matches unless `name` names a model, or makes one.

    Examples:
        >>> from kd_lightning.errors import UserError
        >>> from kd_lightning.models import check_model_name
        >>> check_model_name("resnet8x4")
        >>> def is_known(name):
        ...     try:
        ...         check_model_name(name)
        ...     except UserError:  # names models that are close
        ...         return False
        ...     return True
        >>> is_known("resnet8x5")
        False
    """
    if callable(name):
        return
    if not isinstance(name, str) or not name:
        raise UserError(f"{key}={name}: not a model's name; give one such as resnet8x4, timm/resnet18 or a _target_")
    source, model = split_name(name)
    if source == "timm":
        _check_timm(model, name, key)
    elif source == "torchvision":
        known = torchvision_models()
        if model not in known:
            raise _unknown(
                key, name, _close(model, known, "torchvision/"), "torchvision.models.list_models() has them all"
            )
    elif model not in ZOO:
        close = _elsewhere(model) + _close(model, ZOO)
        raise _unknown(key, name, close, f"or {OTHERS}" if close else f"known are {', '.join(ZOO)}, {OTHERS}")


def split_name(name: str) -> tuple[str, str]:
    """("timm" | "torchvision" | "zoo", the name there)."""
    source, slash, model = name.partition("/")
    return (source, model) if slash and source in ("timm", "torchvision") else ("zoo", name)


def has_pretrained(name: ModelName) -> bool:
    """Whether weights=pretrained can be had: timm's and torchvision's models only.

    Examples:
        >>> from kd_lightning.models import has_pretrained
        >>> has_pretrained("timm/resnet18"), has_pretrained("resnet8x4")
        (True, False)
    """
    return timm_config(name) is not None or torchvision_weights(name) is not None


def pretrained_num_classes(name: ModelName) -> int | None:
    """Classes of the published weights, 0 where they come without a classifier, None where there are none.

    Examples:
        >>> from kd_lightning.models import pretrained_num_classes
        >>> pretrained_num_classes("torchvision/resnet18")
        1000
    """
    if (config := timm_config(name)) is not None:
        return int(config.num_classes)
    weights = torchvision_weights(name)
    return None if weights is None else len(weights.meta["categories"])


def pretrained_normalization(name: ModelName) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """(mean, std) that the published weights expect of inputs in [0, 1], None where there are none.

    Examples:
        >>> from kd_lightning.models import pretrained_normalization
        >>> pretrained_normalization("torchvision/resnet18")
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    """
    if (config := timm_config(name)) is not None:
        return tuple(config.mean), tuple(config.std)
    weights = torchvision_weights(name)
    if weights is None:
        return None
    transforms = weights.transforms()
    return tuple(transforms.mean), tuple(transforms.std)


def default_input_size(name: ModelName) -> tuple[int, int, int]:
    """(channels, height, width) that the model was made for; 3×224×224 where nothing is known.

    Examples:
        >>> from kd_lightning.models import default_input_size
        >>> default_input_size("resnet8x4"), default_input_size("timm/resnet18")
        ((3, 32, 32), (3, 224, 224))
    """
    if isinstance(name, str) and name in DIGITS:
        return (1, 8, 8)
    if isinstance(name, str) and name in CIFAR:
        return (3, 32, 32)
    if (config := timm_config(name, published=False)) is not None:
        channels, height, width = config.input_size
        return (channels, height, width)
    if (weights := torchvision_weights(name)) is not None:
        crop = weights.transforms().crop_size[0]
        return (3, crop, crop)
    return IMAGENET_SIZE


def timm_config(name: ModelName, published: bool = True) -> Any | None:
    """timm's record of a model; with `published` only where its weights can be downloaded."""
    if not isinstance(name, str) or split_name(name)[0] != "timm":
        return None
    import timm

    check_model_name(name, "model")
    config = timm.get_pretrained_cfg(split_name(name)[1])
    return config if config is not None and (config.has_weights or not published) else None


def torchvision_weights(name: ModelName) -> Any | None:
    """torchvision's best weights of a model, not downloaded."""
    if not isinstance(name, str) or split_name(name)[0] != "torchvision":
        return None
    import torchvision

    check_model_name(name, "model")
    return torchvision.models.get_model_weights(split_name(name)[1]).DEFAULT


def torchvision_models() -> list[str]:
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)  # the classifiers only


def _check_timm(model: str, name: str, key: str) -> None:
    import timm

    architecture, dot, tag = model.partition(".")
    if not timm.is_model(architecture):
        remedy = "timm.list_models() has them all"
        raise _unknown(key, name, _close(architecture, timm.list_models(), "timm/"), remedy)
    tags = [full.partition(".")[2] for full in timm.list_models(f"{architecture}.*", pretrained=True)]
    if dot and tag not in tags:
        close = _close(tag, tags, f"timm/{architecture}.") or [f"timm/{architecture}.{known}" for known in tags[:3]]
        raise UserError(
            f"{key}={name}: no such pretrained tag{_did_you_mean(close)} timm/{architecture} alone takes the default"
        )


def _elsewhere(model: str) -> list[str]:
    """A name of timm or torchvision whose prefix is missing or misspelt."""
    import timm

    bare = model.rpartition("/")[2]
    known = {"timm": timm.is_model(bare), "torchvision": bare in torchvision_models()}
    return [f"{source}/{bare}" for source, found in known.items() if found]


def _close(name: str, known: Iterable[str], prefix: str = "") -> list[str]:
    return [prefix + match for match in difflib.get_close_matches(name, list(known), n=3)]


def _did_you_mean(close: list[str]) -> str:
    return f"; did you mean {', '.join(close)}?" if close else ";"


def _unknown(key: str, name: str, close: list[str], known: str) -> UserError:
    return UserError(f"{key}={name}: no such model{_did_you_mean(close)} {known}")
