"""The card beside an export, with the front matter of Hugging Face's model cards."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import yaml

from kd_lightning.exporting.writing import SIZES, Exported
from kd_lightning.runs.summary import Role, Summary

PACKAGES = ("kd-lightning", "torch", "onnx", "onnxscript", "onnxruntime")
IMAGES = "image-classification"
ACCURACY = "top1"  # what Hugging Face calls accuracy


@dataclass(frozen=True)
class About:
    """What a card tells of a network: its model, its data, what it takes and gives, and where it is from."""

    model: str
    data: str
    takes: str
    gives: str
    preprocessing: str
    weights: str  # their file's name
    weights_sha256: str
    compared_on: str
    classes: Sequence[str] = ()
    is_classifier: bool = False
    summary: Summary | None = None


def card(about: About, files: Sequence[Exported]) -> str:
    """The text of README.md."""
    front = yaml.safe_dump(front_matter(about, files), sort_keys=False, allow_unicode=True)
    parts = [f"---\n{front}---\n\n# {title(about)}", *introduction(about), measured(about), written(about, files)]
    parts += [usage(about, files)]
    if about.classes:
        parts.append("## Classes\n\n" + ", ".join(f"{number} {name}" for number, name in enumerate(about.classes)))
    parts.append("## Versions\n\n" + table(["package", "version"], [*versions().items()]))
    return "\n\n".join(part for part in parts if part) + "\n"


def title(about: About) -> str:
    return f"{about.model}, trained on {about.data}"


def front_matter(about: About, files: Sequence[Exported]) -> dict[str, Any]:
    """What Hugging Face's hub reads."""
    is_image = about.is_classifier and bool(about.preprocessing)
    found: dict[str, Any] = {
        "library_name": "onnx" if files[0].format == "onnx" else "pytorch",
        **({"pipeline_tag": IMAGES} if is_image else {}),
        "tags": ["knowledge-distillation", "kd-lightning", *(one.format for one in files)],
    }
    results = results_of(about)
    if results:
        task = {"type": IMAGES} if is_image else {"type": "other"}
        dataset = {"name": about.data, "type": about.data, "split": "test"}
        result = {"task": task, "dataset": dataset, "metrics": results}
        found["model-index"] = [{"name": about.model, "results": [result]}]
    return found


def results_of(about: About) -> list[dict[str, Any]]:
    """The test metrics of the network, as the hub has them."""
    summary = about.summary
    compared = None if summary is None else summary.compared
    if summary is None or compared is None or not summary.data["tested"]:
        return []
    record = summary.result.record
    return [
        {"type": "accuracy" if one.name == ACCURACY else one.name, "name": one.title, "value": one.scale * value}
        for one in compared.columns
        if isinstance(value := record.get(one.name), (int, float))
    ]


def introduction(about: About) -> list[str]:
    teachers = [] if about.summary is None else about.summary.of(Role.TEACHER)
    taught = " and ".join(one.record["model"] for one in teachers)
    how = f", a student of {taught}" if taught else ""
    lines = [f"A {about.model} for {about.data}{how}, trained and exported by KD Lightning."]
    if about.summary is not None:
        terms = ", ".join(f"{name} ({one['loss']})" for name, one in about.summary.objective.items())
        lines.append(f"It minimised {terms}; seed {about.summary.seed}.")
    return lines


def measured(about: About) -> str:
    """The networks of the run side by side."""
    summary = about.summary
    if summary is None or summary.compared is None:
        return ""
    columns = [one for one in summary.compared.columns if any(one.name in net.record for net in summary.networks)]
    rows = []
    for one in summary.networks:
        values = [one.record.get(column.name) for column in columns]
        texts = ["" if value is None else column.text(value) for column, value in zip(columns, values, strict=True)]
        parameters = one.record.get("params")
        rows.append([one.title, one.record["model"], *texts, "" if parameters is None else f"{parameters:,}"])
    header = ["network", "model", *(column.title for column in columns), "parameters"]
    images = summary.data["images"].get("test")
    tested = "" if images is None else f"On {images:,} test samples:\n\n"
    return f"## Metrics\n\n{tested}{table(header, rows)}"


def written(about: About, files: Sequence[Exported]) -> str:
    """The files, and how they compare with the network that they were made from."""
    header = ["file", "bytes", "largest difference", "bound", "same class"]
    header += [f"{name}, batch of {size}, ms" for size in SIZES for name in ("p50", "p95")]
    rows = [
        [
            one.path.name,
            f"{one.bytes:,}",
            f"{one.comparison.largest:.2g}",
            f"{one.comparison.bound:.2g}",
            same(one),
            *(f"{value:.3g}" for size in SIZES for value in (one.latency[size].p50, one.latency[size].p95)),
        ]
        for one in files
    ]
    hashes = [[one.path.name, f"`{one.sha256}`"] for one in files]
    hashes.append([f"{about.weights}, the weights", f"`{about.weights_sha256}`"])
    return (
        f"## Files\n\nLoaded again, and compared with the network in PyTorch on {about.compared_on}; the bound is 1e-4 "
        "of the largest output, 1 at least, which is what float32's rounding explains.\n\n"
        f"{table(header, rows)}\n\n{table(['file', 'SHA-256'], hashes)}"
    )


def same(one: Exported) -> str:
    """How many samples get the same class, and of how many the margin is too large for the difference to matter."""
    found = one.comparison
    if found.same is None:
        return ""
    return f"{found.same:,} of {found.samples:,} ({found.decided:,} by more than twice the difference)"


def usage(about: About, files: Sequence[Exported]) -> str:
    takes = f"It takes {about.takes} and gives {about.gives}, for batches of any size."
    parts = [f"## Use\n\n{takes} {about.preprocessing}".rstrip()]
    for one in files:
        if one.format == "onnx":
            code = (
                "import onnxruntime\n\n"
                f'session = onnxruntime.InferenceSession("{one.path.name}", providers=["CPUExecutionProvider"])\n'
                f"outputs = session.run(None, inputs)[0]  # inputs: arrays by name"
            )
        else:
            code = (
                "import torch\n\n"
                f'network = torch.export.load("{one.path.name}").module()\n'
                f"outputs = network(*inputs)  # inputs: tensors in the order above"
            )
        parts.append(f"```python\n{code}\n```")
    return "\n\n".join(parts)


def versions() -> dict[str, str]:
    """Python, and the packages that made the files, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["-"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
