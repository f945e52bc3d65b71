"""`taps: auto`: finding the taps of any model by one recorded run."""

import re

from torch import nn

from kd_lightning.batch import Input
from kd_lightning.models.dry_run import dry_run
from kd_lightning.models.resolution import as_seen
from kd_lightning.taps.finding.classifier import find_classifier, find_distillation_head, pooled_address
from kd_lightning.taps.finding.feature_info import stages_by_feature_info
from kd_lightning.taps.finding.stages import find_stages
from kd_lightning.taps.finding.trace import Trace, record

FOUND = re.compile(r"logits.*|pooled|stages?\d*|last_stage")


def find_taps(model: nn.Module, example: Input, logits: str = "", num_classes: int | None = None) -> dict[str, str]:
    """Names and addresses of a model's taps: `logits`, `pooled` and `stage1`, `stage2`, … where it has them.

    - `logits` is the model's output; of several, see `logits_of`.
    - `logits_distilled`: of two parallel heads the second's logits, as of a DeiT with a distillation token.
    - `pooled` is what enters the linear layer, or the 1x1 convolution, that gives the logits; of two such heads, the
      first. A map that enters it is averaged (`:mean`). Where the last layer is of another kind there is no `pooled`.
    - The stages are those of timm's `feature_info` where the model carries one, else the last outputs before the
      resolution changes, among the values that everything on its way to the logits runs through. So a squeeze gate, an
      auxiliary branch or the inside of a residual block is none. A model of one resolution (a transformer) or of
      sequences has four evenly spaced blocks as its stages. Neither a stem nor the expansion in front of the
      classifier is a stage.

    The model runs once, in eval mode and without gradients; it is left as it was. It may be on the meta device.

    Args:
        model: any module.
        example: an input as the model will get it, on the model's device.
        logits: the address of the logits, where the model's output does not tell them.
        num_classes: tells the logits among several outputs.

    Examples:
        >>> import torch
        >>> from kd_lightning.models import create_model
        >>> from kd_lightning.taps import find_taps
        >>> find_taps(create_model("resnet8x4", num_classes=100), torch.rand(1, 3, 32, 32))
        {'logits': '', 'pooled': 'fc:input', 'stage1': 'layer1', 'stage2': 'layer2', 'stage3': 'layer3'}
    """
    return taps_in(traced(model, example, logits, num_classes), model, logits)


def traced(model: nn.Module, example: Input, logits: str = "", num_classes: int | None = None) -> Trace | None:
    """One recorded run, from which all taps are found; see `record`."""
    seen = as_seen(model, example)
    with dry_run(model, seen):
        return record(model, seen, logits, num_classes)


def taps_in(trace: Trace | None, model: nn.Module, logits: str = "") -> dict[str, str]:
    """Those of `find_taps`, in a recorded run."""
    taps = {"logits": logits}
    if trace is None:
        return taps
    classifier = find_classifier(trace)
    if classifier is not None:
        taps["pooled"] = pooled_address(classifier)
    if (distilled := find_distillation_head(trace)) is not None:
        taps["logits_distilled"] = distilled.path
    stages = stages_by_feature_info(model, trace) or find_stages(trace, classifier)
    return taps | {f"stage{number}": address for number, address in enumerate(stages, 1)}
