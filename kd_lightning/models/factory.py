"""Building a model by its name."""

from typing import Any

from torch import nn

from kd_lightning.errors import UserError
from kd_lightning.models.catalog import (
    ModelName,
    check_model_name,
    default_input_size,
    has_pretrained,
    pretrained_normalization,
    split_name,
    torchvision_weights,
)
from kd_lightning.models.normalization import note_training
from kd_lightning.models.stem import check_stem, with_cifar_stem
from kd_lightning.models.zoo.names import ZOO

DOWNLOADERS = {"huggingface_hub", "httpx", "httpcore", "requests", "urllib3"}


def create_model(
    name: ModelName,
    num_classes: int,
    in_channels: int = 3,
    pretrained: bool = False,
    *,
    stem: str | None = None,
    key: str = "name",
) -> nn.Module:
    """A classifier, images (B, in_channels, H, W) → logits (B, num_classes).

    `name`: one of this package's own ("resnet8x4"), "timm/NAME", "torchvision/NAME", or what makes a network of one's
    own, called as it stands. `pretrained` downloads published weights; a classifier of another size starts
    at random. timm's models with a distillation head return (class logits, distillation logits) while they train.
    `stem="cifar"` gives a model of timm or torchvision a stem for small images, of random weights: its first
    convolution is 3x3 with stride 1, and no max-pool follows. `key` is how an error names the setting.

    Raises UserError for a model without published weights, whose channels do not fit, or that cannot have the stem.

    Examples:
        >>> import torch
        >>> from kd_lightning.models import create_model
        >>> create_model("resnet8x4", num_classes=100)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 100])
        >>> own = create_model(lambda: torch.nn.Linear(64, 10), num_classes=10)
    """
    check_model_name(name, key)
    owner = key.rpartition(".")[0]
    weights_key, stem_key = f"{owner}.weights".lstrip("."), f"{owner}.stem".lstrip(".")
    check_stem(name, stem, stem_key, pretrained=pretrained)
    if pretrained and not has_pretrained(name):
        raise UserError(
            f"{weights_key}=pretrained: {key}={name} has no published weights; give a file path or {weights_key}=train"
        )
    if callable(name):
        return name()
    source, model = split_name(name)
    if source == "zoo":
        return ZOO[model](num_classes=num_classes, in_channels=in_channels)
    if source == "torchvision" and in_channels != 3:
        import timm

        adaptable = model if timm.is_model(model) else "resnet18"
        raise UserError(
            f"{key}={name}: torchvision's models take 3 channels, the data has {in_channels}; "
            f"take one that adapts, such as timm/{adaptable}, or make the data 3-channel"
        )
    try:
        if source == "timm":
            network = _timm(model, num_classes, in_channels, pretrained)
        else:
            network = _torchvision(name, num_classes, pretrained)
    except Exception as error:
        if pretrained and (isinstance(error, OSError) or type(error).__module__.partition(".")[0] in DOWNLOADERS):
            raise UserError(
                f"{weights_key}=pretrained: the weights of {name} could not be downloaded "
                f"({' '.join(str(error).split())[:120]}); check the connection, or give a file path"
            ) from error
        raise
    note_training(network, pretrained_normalization(name) if pretrained else None)
    return network if stem is None else with_cifar_stem(network, name, stem_key)


def _timm(model: str, num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    import timm

    return timm.create_model(model, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels)


def _torchvision(name: str, num_classes: int, pretrained: bool) -> nn.Module:
    from torchvision.models import get_model

    model = split_name(name)[1]
    options: dict[str, Any] = {}
    if model in ("googlenet", "inception_v3"):  # else they return auxiliary logits beside the logits
        options = {"aux_logits": False, "transform_input": pretrained, "init_weights": not pretrained}
    if model.startswith("vit_"):  # position embeddings fix the size
        options = {"image_size": default_input_size(name)[1]}
    net = get_model(model, weights=None, num_classes=num_classes, **options)
    if pretrained:
        published = get_model(model, weights=torchvision_weights(name)).state_dict()
        own = net.state_dict()
        # All but auxiliary parts and a classifier of another size; in place, for the versions that the dict carries.
        for entry in list(published):
            if entry not in own or published[entry].shape != own[entry].shape:
                del published[entry]
        net.load_state_dict(published, strict=False)
    return net
