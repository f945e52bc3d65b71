"""The spatial size of an output, and the layout that it comes in."""

import math

Shape = tuple[int, ...]
Size = tuple[int, ...]
MAX_PREFIX_TOKENS = 16
STEP = 1.5


def layout_suffix(shape: Shape, example: Shape) -> str:
    """The suffix that makes a map of an output: `:nhwc`, `:tokens`, or none where it is a map or cannot be one."""
    if len(example) != 4:
        return ""
    if len(shape) == 3 and example[2] == example[3]:
        side = math.isqrt(shape[1])
        is_grid = 1 < side <= example[2] and shape[1] - side**2 <= MAX_PREFIX_TOKENS
        return ":tokens" if is_grid else ""
    if len(shape) == 4 and not _has_aspect(shape[2:], example) and _has_aspect(shape[1:3], example):
        return ":nhwc"
    return ""


def size(shape: Shape, example: Shape) -> Size | None:
    """(H,W) of an output, (N,) of a sequence, or None where it is neither."""
    suffix = layout_suffix(shape, example)
    if suffix == ":tokens":
        return (math.isqrt(shape[1]),) * 2
    if len(shape) == 4 and len(example) == 4:
        return shape[1:3] if suffix == ":nhwc" else shape[2:]
    return shape[1:2] if len(shape) == 3 and shape[1] > 1 else None


def is_same_level(one: Size | None, other: Size | None) -> bool:
    """Whether two sizes differ by less than a step of resolution, as by a border that a convolution cuts off."""
    if one is None or other is None or len(one) != len(other):
        return one == other
    return all(max(a, b) < STEP * min(a, b) for a, b in zip(one, other, strict=True))


def _has_aspect(candidate: Size, example: Shape) -> bool:
    """Whether (h,w) may be the example's (H,W) scaled down."""
    (h, w), (height, width) = candidate, example[2:]
    return h <= height and w <= width and abs(height * w - width * h) < max(height, width)
