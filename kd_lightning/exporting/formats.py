"""The formats of an export: each writes a program into one file, and loads it by the engine that runs it."""

import io
import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from kd_lightning.errors import UserError, did_you_mean
from kd_lightning.exporting.alone import BATCH, Alone
from kd_lightning.exporting.program import dimensions, first_line, module_of, quiet

OPSET = 18  # what torch's exporter writes without converting between versions
ABOUT = "kd_lightning.json"  # the file inside an archive of torch.export that holds what it tells of itself
OPERATOR = re.compile(r"target=torch\.ops\.([\w.]+)")
Run = Callable[[Sequence[Tensor]], Tensor]  # what an engine makes of tensors by position


@dataclass(frozen=True)
class Loaded:
    """A file in its engine: what runs it, and what it tells of itself."""

    run: Run
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Format:
    """A kind of file, its ending, and the packages that it and its engine need."""

    name: str
    suffix: str
    engine: str
    packages: tuple[str, ...]
    needed: tuple[str, ...]  # to load it
    write: Callable[[ExportedProgram, Alone, Path, Mapping[str, str], str], None]
    load: Callable[[Path], Loaded]
    runs_code: bool = False  # whether a file of others may have any code run as it is loaded

    def check(self, key: str, *, to_load: bool = False) -> None:
        """Raise UserError where a package is missing."""
        wanted = self.needed if to_load else self.packages
        missing = [name for name in wanted if find_spec(name) is None]
        if missing:
            raise UserError(f'{key}: needs {", ".join(missing)}; pip install "kd-lightning[export]"')


def write_onnx(program: ExportedProgram, alone: Alone, path: Path, metadata: Mapping[str, str], key: str) -> None:
    """Write ONNX with the weights in the one file. Raises UserError for an operator that ONNX lacks."""
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shapes = {"inputs": tuple(named(sizes) for sizes in dimensions(program))}
            written: Any = torch.onnx.export(
                program,
                (),
                None,
                dynamo=True,
                input_names=alone.takes(),
                output_names=[alone.gives],
                opset_version=OPSET,
                dynamic_shapes=shapes,
                optimize=True,
                verbose=False,
            )
            written.model.metadata_props.update(metadata)
            written.save(str(path), external_data=False)
    except OSError:
        raise
    except Exception as error:
        raise refusal(error, program, key) from error


def named(sizes: Sequence[int | None]) -> dict[int, str]:
    """What ONNX calls the dimensions of an input that may have any size: of the samples, and of a text."""
    names = (BATCH, "length")
    return {place: names[place] for place, size in enumerate(sizes) if size is None}


def refusal(error: BaseException, program: ExportedProgram, key: str) -> UserError:
    """What ONNX's exporter has to say: the operator that it lacks, with the module that runs it."""
    said, cause = str(error), error
    while cause.__cause__ is not None:
        cause = cause.__cause__
        said += f"\n{cause}"
    found = OPERATOR.search(said)
    if found is None:
        return UserError(f"{key}: ONNX cannot hold the network ({first_line(cause)}); export it as torch_export")
    operator = found[1].removesuffix(".default")
    where = module_of(program, operator)
    return UserError(
        f"{key}: ONNX has no operator {operator}{f', which {where} runs' if where else ''}; replace it there, or "
        "export the network as torch_export"
    )


def load_onnx(path: Path) -> Loaded:
    """By onnxruntime, on the CPU with as many threads as torch takes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(inputs: Sequence[Tensor]) -> Tensor:
        given = dict(zip(names, (one.numpy() for one in inputs), strict=True))
        return torch.from_numpy(session.run(None, given)[0])

    return Loaded(run, dict(session.get_modelmeta().custom_metadata_map))


def write_program(program: ExportedProgram, alone: Alone, path: Path, metadata: Mapping[str, str], key: str) -> None:
    """Write an archive of torch.export. Raises UserError where it cannot be written."""
    archive = io.BytesIO()  # a path without its ending it would warn of
    try:
        with quiet():
            torch.export.save(program, archive, extra_files={ABOUT: json.dumps(dict(metadata))})
    except Exception as error:
        raise UserError(f"{key}: torch.export cannot store the network ({first_line(error)}); export onnx") from error
    path.write_bytes(archive.getvalue())


def load_program(path: Path) -> Loaded:
    """By torch.export itself."""
    about = {ABOUT: ""}
    with quiet():
        program = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=about)
    module = program.module()

    def run(inputs: Sequence[Tensor]) -> Tensor:
        with torch.no_grad():
            given: Tensor = module(*inputs)
        return given

    return Loaded(run, json.loads(about[ABOUT] or "{}"))


FORMATS = {
    one.name: one
    for one in (
        Format(
            "onnx",
            "onnx",
            "onnxruntime",
            ("onnx", "onnxscript", "onnxruntime"),
            ("onnxruntime",),
            write_onnx,
            load_onnx,
        ),
        Format("torch_export", "pt2", "torch.export.load", (), (), write_program, load_program, runs_code=True),
    )
}


def formats_of(given: Any, key: str = "format") -> list[Format]:
    """The formats that a text names, several with commas, or a list. Raises UserError for what is none."""
    names = given.split(",") if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{key}={given}: must be {' or '.join(FORMATS)}, or several with commas")
    found = [name.strip() for name in names]
    for name in found:
        if name not in FORMATS:
            known = f"{did_you_mean(name, FORMATS)}there are {', '.join(FORMATS)}"
            raise UserError(f"{key}={given}: no format {name}; {known}")
    return [FORMATS[name] for name in dict.fromkeys(found)]


def format_of(path: Path) -> Format | None:
    """The format of a file by its ending; None of no export."""
    return next((one for one in FORMATS.values() if f".{one.suffix}" == path.suffix), None)
