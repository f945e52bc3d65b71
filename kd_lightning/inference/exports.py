"""A finished run's student exported: what kd-export does."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from kd_lightning.batch import INPUT, Input, as_text, shape_of
from kd_lightning.config.conf import plain
from kd_lightning.config.folder.stored_config import run_config
from kd_lightning.data.values import check_flag, check_whole
from kd_lightning.errors import UserError
from kd_lightning.exporting.alone import Alone, answer, names_of, tensors_of
from kd_lightning.exporting.card import About, card
from kd_lightning.exporting.formats import formats_of
from kd_lightning.exporting.writing import Exported, Samples, write
from kd_lightning.inference.samples import noise, of_files, of_run
from kd_lightning.inference.student import Trained, trained
from kd_lightning.networks.description import DescribedData, Description
from kd_lightning.runs.files import CARD, EXPORTS
from kd_lightning.runs.folder import read_summary
from kd_lightning.store.remembered import remember
from kd_lightning.terminal import warn

GIVES, CLASSES = "gives", "classes"  # in the metadata of an export: logits or probabilities; the classes as JSON
ONE_CLASS = "classes"  # the outputs of a task whose samples have one class


def export_run(config: DictConfig) -> list[Exported]:
    """Write the student of `config.run` in each format, with a card beside them; all of them or none.

    Raises UserError where there is no student, or where it cannot be exported.
    """
    formats = formats_of(plain(config.format))
    check_options(config)
    for one in formats:
        one.check(f"format={one.name}")
    student = trained(config.run, "run", trust=config.trust)
    description = student.description
    example = DescribedData(description).example()[INPUT]
    alone = alone_of(student, example, softmax=config.softmax)
    samples, compared_on = samples_of(student, config)
    folder = Path(config.output).expanduser() if config.output else student.place.weights.parent / EXPORTS
    told = description if config.class_names else replace(description, classes=None)
    metadata = {**replace(told, network={}).beside_weights(), GIVES: alone.gives}
    if told.classes:
        metadata[CLASSES] = json.dumps(told.classes, ensure_ascii=False)
    about = about_of(student, told, alone, example, compared_on)
    files = write(
        alone,
        tensors_of(example),
        samples,
        {folder / f"{student.place.weights.stem}.{one.suffix}": one for one in formats},
        metadata,
        of_classes=description.outputs == ONE_CLASS,
        key="format={format}",
        beside=lambda files: {folder / CARD: card(about, files)},
    )
    for file in files:
        remember(file.sha256)
    return files


def check_options(config: DictConfig) -> None:
    """Raise UserError for values that cannot be."""
    for name in ("softmax", "class_names", "trust"):
        check_flag(name, config[name])
    check_whole("compared", config.compared, 1)
    if not (config.output is None or isinstance(config.output, str)):
        raise UserError(f"output={config.output}: must be the path of a folder, or null")
    if config.output and Path(config.output).expanduser().is_file():
        raise UserError(f"output={config.output}: is a file; give a folder")


def alone_of(student: Trained, example: Input, *, softmax: bool) -> Alone:
    """The network as an export has it. Raises UserError for a softmax that means nothing."""
    description = student.description
    tap = (description.network.get("taps") or {}).get("logits")
    alone = Alone(student.network, names_of(example), tap, description.num_classes)
    if not softmax:
        return alone
    shape = answer(alone, tensors_of(example)).shape
    if description.outputs != ONE_CLASS or len(shape) != 2:
        given = "x".join(map(str, shape[1:]))
        raise UserError(
            f"softmax=true: is for one class of several for each sample, and the network of {description.data} gives "
            f"{description.outputs or 'outputs'} of shape {given}; give softmax=false"
        )
    alone.softmax = True
    return alone


def samples_of(student: Trained, config: DictConfig) -> tuple[Samples, str]:
    """What the files are compared on, and what the card calls it. Raises UserError where it is not there."""
    if config.images is not None:
        samples = of_files(config.images, student.description, config.compared)
        return samples, f"{count(samples)} images of the user's own"
    if student.place.run is None:
        warn("there is no run beside the weights: files are compared on noise; images=FOLDER compares on images")
        return noise(student.description), "noise"
    run = run_config(student.place.run, config.trust)
    if config.data.root is not None:
        run.data.root = config.data.root
    try:
        samples = of_run(run, config.compared)
    except UserError as error:
        raise UserError(f"{error}; images=FOLDER compares on other images") from error
    return samples, f"{count(samples)} test samples"


def count(samples: Samples) -> str:
    return f"{sum(len(batch[0]) for batch in samples):,}"


def about_of(student: Trained, told: Description, alone: Alone, example: Input, compared_on: str) -> About:
    """What the card tells."""
    weights, transform = student.place.weights, told.transform
    preprocessing = ""
    if transform is not None:
        colours = "RGB" if transform.channels == 3 else "grey"
        preprocessing = (
            f"Images are {colours}, float32 in [0, 1]: the short side is resized to {transform.resize} pixels "
            f"(bilinear, antialiased) and the centre of {transform.size}x{transform.size} cut out. The file normalises "
            "for itself."
        )
    takes = ", ".join(
        f"{name} (batch, {as_text(shape_of(one)).replace('x', ', ')}) of {str(one.dtype).partition('.')[2]}"
        for name, one in zip(alone.takes(), tensors_of(example), strict=True)
    )
    return About(
        model=student.model,
        data=told.data,
        takes=takes,
        gives=alone.gives,
        preprocessing=preprocessing,
        weights=weights.name,
        weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        compared_on=compared_on,
        classes=told.classes or (),
        is_classifier=told.outputs == ONE_CLASS,
        summary=None if student.place.run is None else read_summary(student.place.run),
    )
