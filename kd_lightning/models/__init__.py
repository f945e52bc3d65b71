"""Models by name, their weights and their normalisation."""

from kd_lightning.models.catalog import (
    check_model_name,
    default_input_size,
    has_pretrained,
    pretrained_normalization,
    pretrained_num_classes,
)
from kd_lightning.models.factory import create_model
from kd_lightning.models.normalization import (
    normalize_inputs,
    read_normalization,
    stored_normalization,
    trained_with,
)
from kd_lightning.models.resolution import image_size_of, resize_inputs
from kd_lightning.models.stem import check_stem, stem_of
from kd_lightning.models.weights.weights import load_weights, save_weights, state_sha256

__all__ = [
    "check_model_name",
    "check_stem",
    "create_model",
    "default_input_size",
    "has_pretrained",
    "image_size_of",
    "load_weights",
    "normalize_inputs",
    "pretrained_normalization",
    "pretrained_num_classes",
    "read_normalization",
    "resize_inputs",
    "save_weights",
    "state_sha256",
    "stem_of",
    "stored_normalization",
    "trained_with",
]
