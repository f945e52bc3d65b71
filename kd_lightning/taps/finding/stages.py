"""Finding the stages of a model that does not name them: the last outputs before the resolution changes."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from torch import nn

from kd_lightning.taps.finding.main_path import Level, MainPath
from kd_lightning.taps.finding.trace import Call, Trace

T = TypeVar("T")
MAX_STEM_LAYERS = 4
SPREAD = 4


def find_stages(trace: Trace, classifier: Call | None) -> list[str]:
    """The addresses of the stages, from input to output."""
    path = MainPath(trace, classifier)
    levels = [level for level in path.levels if level.size != (1, 1) or _keeps_size(level)]
    levels = _without_stem([level for level in levels if level.layers or (level is levels[-1] and _is_max_pool(level))])
    if len(levels) == 1 and (blocks := path.repeated_blocks(levels[0])):
        return [path.address(block) for block in spread(blocks)]
    ends = [_end(level, trace, is_last=level is levels[-1]) for level in levels if len(level.size) == 2]
    return [path.address(end) for end in ends if end is not None]


def spread(items: Sequence[T]) -> list[T]:
    """Four evenly spaced ones, the last of each quarter; all where there are no more."""
    if len(items) <= SPREAD:
        return list(items)
    return [items[round((quarter + 1) * len(items) / SPREAD) - 1] for quarter in range(SPREAD)]


def is_stem(first: Sequence[Call], second: Iterable[Call]) -> bool:
    """Whether the layers of the first levels are few beside the second's, so that they only prepare it."""
    return 0 < len(first) <= MAX_STEM_LAYERS and 3 * len(first) <= len(list(second))


def _without_stem(levels: list[Level]) -> list[Level]:
    for count in reversed(range(1, len(levels))):
        before = [layer for level in levels[:count] for layer in level.layers]
        if is_stem(before, levels[count].layers_of_its_size):
            return levels[count:]
    return levels


def _end(level: Level, trace: Trace, is_last: bool) -> Call | None:
    """The output that stands for a level.

    That of its last layer or block. What follows a lone layer (a normalisation, an activation) belongs to it; what
    follows a block does not, unless it works in place, so that the block's own output cannot be read.
    """
    calls = level.calls
    weighted = [index for index, call in enumerate(calls) if call.layers()]
    if is_last and len(weighted) > 1 and _is_expansion(calls[weighted[-1]], calls[weighted[-2]]):
        calls = calls[: weighted.pop()]
    last = weighted[-1] if weighted else 0
    if weighted and calls[last].is_weighted:
        last = len(calls) - 1
    order = [calls[last], *calls[last + 1 :], *reversed(calls[:last])]
    if weighted and not calls[last].layers():
        order = [*reversed(calls)]
    return next((call for call in order if trace.is_tappable(call)), None)


def _is_expansion(call: Call, previous: Call) -> bool:
    """Whether this is a lone pointwise convolution behind a block, which widens a map for the classifier."""
    layers = call.layers()
    if len(layers) != 1 or len(previous.layers()) < 2:
        return False
    conv = layers[0].module
    if not isinstance(conv, nn.Conv2d) or set(conv.kernel_size) != {1} or conv.groups != 1:
        return False
    return conv.out_channels > conv.in_channels


def _keeps_size(level: Level) -> bool:
    """Whether a level of 1x1 maps has layers that would work on a larger one, as a deep network on a small image."""
    return any(getattr(layer.module, "padding", 0) not in (0, (0, 0)) for layer in level.layers)


def _is_max_pool(level: Level) -> bool:
    return isinstance(level.calls[0].module, (nn.MaxPool2d, nn.AdaptiveMaxPool2d))
