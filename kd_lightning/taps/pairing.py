"""Which tap of a student goes with which tap of a teacher."""

from collections.abc import Mapping, Sequence

Shape = tuple[int, ...]
BY_NAME = ("logits", "pooled")


def pair_taps(student_shapes: Mapping[str, Shape], teacher_shapes: Mapping[str, Shape]) -> list[tuple[str, str]]:
    """Pairs of a student's and a teacher's tap: by name for `logits` and `pooled`, by spatial size for the stages.

    Stages pair in order, as many as possible; of several with one size the last go with the last. Sizes that the other
    side does not have stay unpaired: nothing is resized by guess.

    Args:
        student_shapes: shapes by tap name without the batch dimension, from input to output, as `shapes_of` gives.
        teacher_shapes: likewise.

    Examples:
        >>> from kd_lightning.taps import pair_taps
        >>> student = {"logits": (100,), "stage1": (64, 32, 32), "stage2": (128, 16, 16)}
        >>> teacher = {"logits": (100,), "stage1": (256, 16, 16), "stage2": (512, 8, 8)}
        >>> pair_taps(student, teacher)
        [('logits', 'logits'), ('stage2', 'stage1')]
    """
    by_name = [(name, name) for name in BY_NAME if name in student_shapes and name in teacher_shapes]
    return by_name + _align(_sizes(student_shapes), _sizes(teacher_shapes))


def _sizes(shapes: Mapping[str, Shape]) -> list[tuple[str, Shape]]:
    """The spatial size of each stage: (H,W) of a map, (N,) of tokens."""
    sizes = {name: shape[1:] if len(shape) == 3 else shape[:-1] for name, shape in shapes.items()}
    return [(name, size) for name, size in sizes.items() if size and name not in BY_NAME]


def _align(students: Sequence[tuple[str, Shape]], teachers: Sequence[tuple[str, Shape]]) -> list[tuple[str, str]]:
    """The longest common subsequence of two lists of named sizes, matched from the end."""
    best: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for i in range(len(students) + 1):
        for j in range(len(teachers) + 1):
            if i == 0 or j == 0:
                best[i, j] = []
            elif students[i - 1][1] == teachers[j - 1][1]:
                best[i, j] = [*best[i - 1, j - 1], (students[i - 1][0], teachers[j - 1][0])]
            else:
                best[i, j] = max(best[i - 1, j], best[i, j - 1], key=len)
    return best[len(students), len(teachers)]
