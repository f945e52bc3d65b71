"""A network written in several formats: each file loaded again and compared, and all of them there or none."""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kd_lightning.batch import Input
from kd_lightning.errors import UserError
from kd_lightning.exporting.alone import Alone, answer, names_of, tensors_of
from kd_lightning.exporting.comparison import Comparison, Latency, repeated
from kd_lightning.exporting.formats import Format, Loaded, Run, format_of
from kd_lightning.exporting.program import dimensions, first_line, traced
from kd_lightning.system.files import replacing

SIZES = (1, 32)  # of the batches whose latency is measured
Samples = Sequence[tuple[Tensor, ...]]  # batches, each as `Alone` takes it


@dataclass(frozen=True)
class Exported:
    """A file, and what was seen of it as it was loaded again."""

    format: str
    path: Path
    bytes: int
    sha256: str
    comparison: Comparison
    latency: Mapping[int, Latency]  # by the size of the batch


def export(
    network: nn.Module,
    example: Input,
    path: str | Path,
    *,
    num_classes: int | None = None,
    softmax: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Exported:
    """Write any network as `path`, which ends in .onnx or .pt2 (torch.export), for batches of any size.

    The file is loaded again by the engine that runs it, and its outputs for the example compared with the network's.

    Args:
        network: stays as it is; a copy is written, in eval mode, without what it gives beside its logits.
        example: what it takes, two samples or more: a tensor, or a mapping of tensors, which the file takes by name.
        num_classes: tells the logits among several outputs.
        softmax: whether the file gives probabilities (B, C) in place of logits.
        metadata: text that the file holds beside the network, such as class names.

    Raises UserError for another ending, a missing package, an operator that the format lacks, and outputs that differ
    by more than rounding; nothing is written then.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from kd_lightning.exporting import export
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     exported = export(network, torch.rand(4, 1, 8, 8), Path(folder) / "network.pt2")
        >>> exported.comparison.largest < 1e-6
        True
    """
    path = Path(path)
    kind = format_of(path)
    if kind is None:
        raise UserError(f"path={path}: must end in .onnx or .pt2")
    kind.check(f"path={path}")
    inputs = tuple(one.cpu() for one in tensors_of(example))
    if any(len(one) < 2 for one in inputs):
        raise UserError("example: holds one sample; give two or more, for one alone would be taken for a constant")
    network = copy.deepcopy(network).cpu().eval()
    alone = Alone(network, names_of(example), num_classes=num_classes, softmax=softmax)
    [done] = write(alone, inputs, [inputs], {path: kind}, metadata or {}, of_classes=True, key="path={path}")
    return done


def write(
    alone: Alone,
    inputs: Sequence[Tensor],
    samples: Samples,
    places: Mapping[Path, Format],
    metadata: Mapping[str, str],
    *,
    of_classes: bool,
    key: str,
    beside: Callable[[Sequence[Exported]], Mapping[Path, str]] = lambda _: {},
) -> list[Exported]:
    """Write a network, traced from `inputs`, at several places, and texts `beside` them that tell of the files.

    All take their places at the end, once each was loaded and compared on the samples; where one fails there is none.
    `key` is how an error names a place, of which it may take the `path` and the `format`. Raises UserError.
    """

    def where(path: Path, *kinds: Format) -> str:
        return key.format(path=path, format=",".join(kind.name for kind in kinds))

    everywhere = where(next(iter(places)), *places.values())
    program = traced(alone, inputs, everywhere)
    samples = [one for one in samples if fits(one, dimensions(program))] or [tuple(inputs)]
    expected = outputs(lambda one: answer(alone, one), samples)
    if not bool((expected.isfinite() | expected.isneginf()).all()):
        raise UserError(f"{everywhere}: the network's own outputs are not finite; train it again")
    found = []
    with ExitStack() as all_of_them:
        for folder in {path.parent for path in places}:
            all_of_them.enter_context(made_folder(folder))
        for path, kind in places.items():
            file = all_of_them.enter_context(replacing(path))
            kind.write(program, alone, file, metadata, where(path, kind))
            loaded = load(kind, file, where(path, kind))
            comparison = Comparison.of(expected, outputs(loaded.run, samples), of_classes=of_classes)
            comparison.check(where(path, kind))
            latency = {size: Latency.of(loaded.run, repeated(samples[0], size)) for size in SIZES}
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            found.append(Exported(kind.name, path, len(content), digest, comparison, latency))
        for path, text in beside(found).items():
            all_of_them.enter_context(replacing(path)).write_text(text, encoding="utf-8")
    return found


def fits(inputs: Sequence[Tensor], sizes: Sequence[Sequence[int | None]]) -> bool:
    """Whether inputs have the sizes that a program takes: it may fix the length of a text."""
    pairs = [pair for one, wanted in zip(inputs, sizes, strict=True) for pair in zip(one.shape, wanted, strict=True)]
    return all(wanted is None or size == wanted for size, wanted in pairs)


def made_folder(folder: Path) -> ExitStack:
    """A folder, made where it is not there; empty at the end it is removed again."""
    stack = ExitStack()

    def remove() -> None:
        with suppress(OSError):  # it holds something
            folder.rmdir()

    if not folder.exists():
        folder.mkdir(parents=True)
        stack.callback(remove)
    return stack


def load(kind: Format, file: Path, key: str) -> Loaded:
    """A file in its engine. Raises UserError where that does not take it."""
    try:
        return kind.load(file)
    except Exception as error:  # engines raise what they like
        raise UserError(f"{key}: {kind.engine} does not load the file ({first_line(error)})") from error


def outputs(run: Run, samples: Samples) -> Tensor:
    """What is given for all samples, in their order."""
    return torch.cat([run(batch) for batch in samples])
