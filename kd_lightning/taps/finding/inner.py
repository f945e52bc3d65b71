"""Taps that some methods need besides the stages: what lies around them, and parameters."""

import re
from collections.abc import Iterator

from torch import nn

from kd_lightning.batch import Input
from kd_lightning.taps.finding.classifier import find_classifier, find_distillation_head
from kd_lightning.taps.finding.finding import taps_in, traced
from kd_lightning.taps.finding.resolution import layout_suffix, size
from kd_lightning.taps.finding.trace import Call, Trace

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Mish)
NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
AVERAGE = re.compile(r"aten\.(mean|avg_pool2d|_adaptive_avg_pool2d)\.")
COPY = re.compile(r"aten\.(clone|_to_copy|copy_|contiguous|as_strided_)\.")
POOLING = re.compile(r".*(Pool|Identity|Flatten|Dropout).*")


def find_inner_taps(
    model: nn.Module, example: Input, logits: str = "", num_classes: int | None = None
) -> dict[str, str]:
    """Names and addresses of a model's further taps, as far as it has them.

    - `stem`: what leaves the layers in front of the first stage.
    - `preactivation1`, …: a stage before its activation: what enters the activation that ends it, or, in a network of
      pre-activation blocks, what the next normalisation makes of it. Where neither is there, the stage itself.
    - `bn_scale1`, `bn_shift1`, …: weight and bias of the batch normalisation that gave `preactivation1`; of several
      branches that are added, the deepest one's.
    - `final`: the last map (B, D, H, W), whose mean over the positions is `pooled`; not where that is a class token, or
      where something comes between the mean and the classifier.
    - `classifier_weight` (K, D), `classifier_bias` (K,): parameters of the layer that gives the logits.
    - Those that the model names itself, in an attribute `taps` of names and addresses.

    Runs the model as `find_taps` does.

    Examples:
        >>> import torch
        >>> from kd_lightning.models import create_model
        >>> from kd_lightning.taps import find_inner_taps
        >>> taps = find_inner_taps(create_model("resnet8x4", num_classes=100), torch.rand(1, 3, 32, 32))
        >>> taps["classifier_weight"]
        'fc:weight'
    """
    return inner_taps_in(traced(model, example, logits, num_classes), model)


def inner_taps_in(trace: Trace | None, model: nn.Module) -> dict[str, str]:
    """Those of `find_inner_taps`, in a recorded run."""
    taps: dict[str, str] = dict(getattr(model, "taps", {}))
    if trace is None:
        return taps
    stages = [address for tap, address in taps_in(trace, model).items() if tap.startswith("stage")]
    calls = [trace.last[address.partition(":")[0]] for address in stages]
    if calls and (stem := _stem(trace, calls[0])):
        taps["stem"] = stem
    for number, (address, call) in enumerate(zip(stages, calls, strict=True), 1):
        taps |= {f"{name}{number}": value for name, value in _before_activation(trace, address, call)}
    classifier = find_classifier(trace)
    if classifier is not None:
        if final := _final(trace, classifier):
            taps["final"] = final
        if find_distillation_head(trace) is None:  # of two heads, neither alone gives the logits
            taps["classifier_weight"] = f"{classifier.path}:weight"
            if classifier.module.bias is not None:
                taps["classifier_bias"] = f"{classifier.path}:bias"
    return taps


def _stem(trace: Trace, stage: Call) -> str | None:
    """The last map on the main path before the first stage, but for pooling; None where the stage is no block."""
    if not stage.children:
        return None
    inside = {id(call) for call in stage.descendants()} | {id(stage)}
    before = trace.calls[: next(n for n, call in enumerate(trace.calls) if id(call) in inside)]
    for call in reversed(before):
        if trace.is_main(call) and trace.is_tappable(call) and len(call.shape) == 4 and not _is_pooling(call):
            return f"{call.path}{layout_suffix(call.shape, trace.example_shape)}"
    return None


def _before_activation(trace: Trace, address: str, stage: Call) -> Iterator[tuple[str, str]]:
    ends_in = _last(call for call in trace.calls if call.node == stage.node and _is_activation(call))
    followed_by = _followed_by(trace, stage)
    if ends_in is not None:
        node, tap = ends_in.input_node, f"{ends_in.path}:input" if trace.last[ends_in.path] is ends_in else ""
    elif followed_by is not None:
        node, tap = followed_by.node, f"{followed_by.path}{layout_suffix(followed_by.shape, trace.example_shape)}"
        activation = next((c for c in trace.calls if c.input_node == node and _is_activation(c)), None)
        assert activation is not None
        tap = f"{activation.path}:input" if trace.last[activation.path] is activation else tap
    else:
        node, tap = stage.node, address
    if tap and not (ends_in is None and _hides_activation(stage)):
        yield "preactivation", tap
        normalization = _deepest_normalization(trace, node)
        if normalization is not None:
            yield "bn_scale", f"{normalization.path}:weight"
            yield "bn_shift", f"{normalization.path}:bias"


def _followed_by(trace: Trace, stage: Call) -> Call | None:
    """The normalisation that takes a stage's output and gives it to an activation."""
    for call in trace.calls:
        if call.input_node != stage.node or call is stage or not _is_normalization(call):
            continue
        if any(other.input_node == call.node and _is_activation(other) for other in trace.calls):
            return call
    return None


def _deepest_normalization(trace: Trace, node: int | None) -> Call | None:
    """Of the batch normalisations whose output, or the sum of whose outputs, is a node, the one deepest in the net."""
    if node is None:
        return None
    nodes = {node} | trace.flow.parents[node]
    found = [call for call in trace.calls if call.node in nodes and _is_normalization(call)]
    same = [call for call in found if call.node == node]
    return max(same or found, key=lambda call: len(trace.flow.ancestors(call.node or 0)), default=None)


def _final(trace: Trace, classifier: Call) -> str | None:
    """The map that is pooled on its way into the classifier."""
    if len(classifier.input_shape) == 4:
        return f"{classifier.path}:input"
    assert classifier.node is not None
    ancestors, width = trace.flow.ancestors(classifier.node), classifier.input_shape[-1]
    for call in reversed(trace.calls[: trace.calls.index(classifier)]):
        suffix = layout_suffix(call.shape, trace.example_shape)
        if size(call.shape, trace.example_shape) is None or call.node not in ancestors or _is_pooling(call):
            continue
        channels = call.shape[1] if not suffix and len(call.shape) == 4 else call.shape[-1]
        is_map = len(call.shape) == 4 or suffix == ":tokens"
        if is_map and channels == width and trace.is_tappable(call) and _is_averaged(trace, call, classifier):
            return f"{call.path}{suffix}"
    return None


def _is_averaged(trace: Trace, final: Call, classifier: Call) -> bool:
    """Whether the classifier takes a map's mean, and nothing else is done to it on the way."""
    assert final.node is not None
    assert classifier.input_node is not None
    between = trace.flow.ancestors(classifier.input_node) - trace.flow.ancestors(final.node)
    operations = [trace.flow.made_by[node] for node in between if not COPY.match(trace.flow.made_by[node])]
    return len(operations) == 1 and AVERAGE.match(operations[0]) is not None


def _is_activation(call: Call) -> bool:
    return isinstance(call.module, ACTIVATIONS)


def _is_normalization(call: Call) -> bool:
    return isinstance(call.module, NORMALIZATIONS) and call.module.affine and not _activates(call.module)


def _activates(module: nn.Module) -> bool:
    """Whether a layer holds its own activation, as timm's normalisations do."""
    return not isinstance(getattr(module, "act", nn.Identity()), nn.Identity)


def _hides_activation(stage: Call) -> bool:
    """Whether a stage ends in a layer that normalises and activates at once, so that nothing in between can be read."""
    return any(call.node == stage.node and _activates(call.module) for call in (*stage.descendants(), stage))


def _is_pooling(call: Call) -> bool:
    return bool(POOLING.fullmatch(type(call.module).__name__))


def _last(calls: Iterator[Call]) -> Call | None:
    return next(iter(reversed(list(calls))), None)
