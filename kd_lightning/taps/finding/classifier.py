"""Finding the layers that give the logits."""

from torch import nn

from kd_lightning.taps.finding.trace import Call, Trace


def find_classifier(trace: Trace) -> Call | None:
    """The linear layer or 1x1 convolution whose output becomes the logits; of parallel heads the first."""
    return next(iter(_heads(trace)), None)


def find_distillation_head(trace: Trace) -> Call | None:
    """The second of two parallel heads, as DeiT has for its distillation token (Touvron et al. 2021, arXiv:2012.12877).

    None unless each gives logits of the shape that the model returns.
    """
    heads = _heads(trace)
    return heads[1] if len(heads) == 2 and heads[1].shape == trace.root.shape else None


def _heads(trace: Trace) -> list[Call]:
    """The layers whose outputs become the logits, in the order of the run; several where they stand side by side."""
    assert trace.root.node is not None
    ancestors = trace.flow.ancestors(trace.root.node)
    layers = [call for call in trace.calls if _has_weights(call) and call.node in ancestors]
    if not layers or not _is_linear(layers[-1]):
        return []
    heads = [layers[-1]]
    assert heads[0].node is not None
    before = trace.flow.ancestors(heads[0].node)
    for call in reversed(layers[:-1]):
        assert call.node is not None
        if call.node in before:
            continue
        if not _is_linear(call):
            break
        heads.append(call)
        before |= trace.flow.ancestors(call.node)
    same = [head for head in heads if trace.last[head.path] is head and head.shape[1:] == heads[0].shape[1:]]
    return same[::-1]


def pooled_address(classifier: Call) -> str:
    """What enters the classifier, as (B,C) where it is a map."""
    return f"{classifier.path}:input" + ":mean" * (len(classifier.input_shape) == 4)


def _has_weights(call: Call) -> bool:
    return not call.children and next(call.module.parameters(recurse=False), None) is not None


def _is_linear(call: Call) -> bool:
    """Whether it maps each vector of its input to one of its output by one matrix."""
    weight = getattr(call.module, "weight", None)
    if not isinstance(weight, nn.Parameter) or not call.input_shape or not call.shape:
        return False
    if isinstance(call.module, nn.modules.conv._ConvNd):
        return weight[0, 0].numel() == 1 and call.module.groups == 1
    return weight.ndim == 2 and weight.shape[1] == call.input_shape[-1] and weight.shape[0] == call.shape[-1]
