"""The modules that a model's main path runs through, and the levels of resolution along it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

from kd_lightning.taps.finding.resolution import Size, is_same_level, layout_suffix, size
from kd_lightning.taps.finding.trace import Call, Trace


@dataclass(eq=False)
class Level:
    """Consecutive modules of the main path with outputs of one size.

    Attributes:
        size: that size.
        calls: the modules' calls.
        layers: all layers with weights inside them that work on maps or sequences.
        layers_of_its_size: all layers of the model with outputs of this size.
    """

    size: Size
    calls: list[Call]
    layers: list[Call]
    layers_of_its_size: list[Call]


class MainPath:
    """What everything on its way from the input to the classifier runs through.

    Args:
        trace: a recorded run of a model.
        classifier: the layer that gives the logits; the path ends before it.
    """

    def __init__(self, trace: Trace, classifier: Call | None) -> None:
        self.trace = trace
        self.classifier = classifier
        self._sizes = {call: size(call.shape, trace.example_shape) for call in trace.calls}
        self._steps = self._steps_inside(trace.root)
        layers = [call for call in trace.calls if call.is_weighted and self._sizes[call] is not None]
        self.levels = []
        for calls in self._by_level(list(self._modules(trace.root))):
            inside = {layer for call in calls for layer in call.layers()}
            level_size = self._sizes[calls[-1]]
            assert level_size is not None
            self.levels.append(
                Level(
                    level_size,
                    calls,
                    [layer for layer in layers if layer in inside],
                    [layer for layer in layers if is_same_level(self._sizes[layer], level_size)],
                )
            )

    def address(self, call: Call) -> str:
        return call.path + layout_suffix(call.shape, self.trace.example_shape)

    def repeated_blocks(self, level: Level) -> list[Call]:
        """The longest run of blocks of one class, one behind the other, on a level; empty where none repeats."""
        runs: list[list[Call]] = [[]]
        for call in self.trace.calls:
            siblings = [child for child in call.children if child.layers() and self._is_on_path(child)]
            for _, group in groupby(siblings, key=lambda child: (type(child.module), child.shape)):
                run = list(group)
                is_deep = all(block.children and self.trace.is_tappable(block) for block in run)
                if is_deep and self._sizes[run[0]] == level.size:
                    runs.append(run)
        longest = max(runs, key=len)
        return longest if len(longest) > 1 else []

    def _modules(self, container: Call) -> Iterator[Call]:
        """The modules of the path in order, as large as they come without several resolutions inside."""
        for call in container.children:
            if call is self.classifier:
                return
            leads_to_classifier = any(inner is self.classifier for inner in call.descendants())
            if self._is_on_path(call) and not leads_to_classifier and not self._spans_levels(call):
                yield call
            else:
                yield from self._modules(call)
            if leads_to_classifier:
                return

    def _is_on_path(self, call: Call) -> bool:
        return self.trace.is_main(call) and self._sizes[call] is not None

    def _spans_levels(self, call: Call) -> bool:
        """Whether a module is a container of levels, not a block: it makes several steps of resolution, or all."""
        steps = self._steps_inside(call)
        return len(steps) > 1 or (len(steps) == 1 and steps == self._steps and self._begins(call))

    def _steps_inside(self, call: Call) -> list[tuple[Size, Size]]:
        """The changes of resolution between the outputs inside a module, maps of one pixel aside."""
        sizes = [self._sizes[inner] for inner in call.descendants() if self._is_on_path(inner)]
        way: list[Size] = []
        for one in sizes:
            if one is None or one == (1, 1):
                continue
            # What comes back to an earlier size has made no step, as attention over windows.
            seen = next((index for index, before in enumerate(way) if is_same_level(before, one)), len(way))
            way[seen:] = [one]
        return list(pairwise(way))

    def _by_level(self, calls: list[Call]) -> list[list[Call]]:
        """The same calls in groups of one resolution."""
        groups: list[list[Call]] = []
        for call in calls:
            if groups and is_same_level(self._sizes[groups[-1][-1]], self._sizes[call]):
                groups[-1].append(call)
            else:
                groups.append([call])
        return groups

    def _begins(self, call: Call) -> bool:
        """Whether the path's first output is inside a module."""
        first = next((one for one in self.trace.calls if self._is_on_path(one)), None)
        return any(inner is first for inner in call.descendants())
