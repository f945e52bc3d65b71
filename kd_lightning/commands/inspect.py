"""kd-inspect."""

from typing import TYPE_CHECKING

from kd_lightning.cli.command import command
from kd_lightning.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("inspect")
def main(config: "DictConfig") -> None:
    """Show the taps of students and a teacher, side by side; or rank candidate teachers by their kept answers."""
    if config.teachers is not None:
        show_candidates(config)
        return

    from kd_lightning.config.checks.students import check_students
    from kd_lightning.config.parts.students import naming, students_in

    check_students(config)
    for place, own in enumerate(students_in(config)):
        with naming(place, config):
            show_taps(own)


def show_taps(config: "DictConfig") -> None:
    """Show the taps of one student and the teacher."""
    roles = networks(config)  # first, for torch takes seconds to import

    import torch
    from rich.console import Console

    from kd_lightning.config.conf import plain
    from kd_lightning.config.parts.own_model import own_model
    from kd_lightning.models import create_model
    from kd_lightning.models.ready import ready
    from kd_lightning.networks.own_model import OwnModel, check_model
    from kd_lightning.networks.settings import given_taps, input_size
    from kd_lightning.reporting.tables.taps import further, stages, taps_table, unpaired
    from kd_lightning.taps import pair_taps
    from kd_lightning.taps.inspection import Inspection, inspect_model
    from kd_lightning.terminal import AS_IT_IS

    def look(role: str) -> Inspection:
        model = plain(config[role].model)
        taps, size, classes = (
            given_taps(f"{role}.taps", plain(config[role].taps)),
            input_size(role, plain(config[role])),
            config.num_classes,
        )
        key = f"{role}.model"
        named = model if isinstance(model, str) else OwnModel(own_model(model), key, lambda: classes)
        return inspect_model(
            role,
            str(named),
            lambda example: ready(create_model(named, classes, size[0], stem=config[role].stem, key=key), example),
            torch.zeros(2, *size),
            taps,
            taken=None,
            num_classes=classes,
        )

    for role in roles:
        check_model(plain(config[role].model), f"{role}.model")
    inspected = [look(role) for role in roles]
    student, *teachers = (
        stages(model, given_taps(f"{model.role}.taps", plain(config[model.role].taps))) for model in inspected
    )
    teacher = teachers[0] if teachers else None
    pairs = [] if teacher is None else pair_taps(student.shapes, teacher.shapes)
    console = Console(**AS_IT_IS)
    if not console.is_terminal:
        console.width = 160
    console.print(taps_table(student, teacher, pairs))
    for line in [] if teacher is None else unpaired(student, teacher, pairs):
        console.print(line)
    for model in inspected:
        console.print(further(model, student if model.role == "student" else teacher))


def show_candidates(config: "DictConfig") -> None:
    """Rank the teachers that a config chooses by what is kept of their answers."""
    from pathlib import Path

    from rich.console import Console

    from kd_lightning.config.conf import plain
    from kd_lightning.inference.answers.candidates import rank
    from kd_lightning.reporting.tables.teachers import candidates_table, notes
    from kd_lightning.terminal import AS_IT_IS

    found, left_out = rank(plain(config.teachers), Path(config.cache_dir).expanduser(), config.trust is True)
    console = Console(**AS_IT_IS)
    for data, candidates in found:
        console.print(candidates_table(data, candidates))
    for line in [*left_out, *(notes() if found else [])]:
        console.print(line)


def networks(config: "DictConfig") -> list[str]:
    """The networks that a config names, the student first. Raises UserError for what names none."""
    from omegaconf import DictConfig

    for role in ("student", "teacher"):
        if not isinstance(config[role], DictConfig):
            raise UserError(f"{role}={config[role]}: must be a mapping; give {role}.model=NAME")
    if not isinstance(config.num_classes, int) or isinstance(config.num_classes, bool) or config.num_classes < 1:
        raise UserError(f"num_classes={config.num_classes}: must be a whole number, 1 or more")
    if config.student.model is None:
        raise UserError("student.model=null: name a model, such as student.model=resnet8x4")
    return ["student"] if config.teacher.model is None else ["student", "teacher"]


if __name__ == "__main__":
    main()
