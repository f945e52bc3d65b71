"""kd-inspect: the taps of a student and a teacher, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from kd_lightning.config import command
from kd_lightning.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

Shape = tuple[int, ...]


@dataclass
class Inspected:
    """What there is to show of one model."""

    role: str
    name: str
    input_size: Shape
    params: int
    taps: dict[str, str]
    shapes: dict[str, Shape]

    def cells(self, tap: str | None) -> list[str]:
        """A row's half: the tap's name, its address, its shape; empty without a tap."""
        if tap is None:
            return ["", "", ""]
        return [tap, self.taps[tap] or "(output)", "x".join(map(str, self.shapes[tap]))]


@command("inspect")
def main(config: DictConfig) -> None:
    """Show the taps of a student and a teacher, side by side."""
    show(config)


def show(config: DictConfig) -> None:
    """Print the taps of a config's student and, where it has one, its teacher, and how they pair."""
    from rich.console import Console

    from kd_lightning.models import check_model_name
    from kd_lightning.taps import pair_taps

    roles = ["student"] if config.teacher.model is None else ["student", "teacher"]
    for role in roles:
        check_model_name(_plain(config[role].model), f"{role}.model")
    student, *teachers = (inspect_model(role, config[role], config.num_classes) for role in roles)
    console = Console()
    if not console.is_terminal:
        console.width = 160
    pairs = pair_taps(student.shapes, teachers[0].shapes) if teachers else []
    console.print(table_of([student, *teachers], pairs))
    for side, model in enumerate([student, *teachers] if teachers else []):
        unpaired = [tap for tap in model.taps if tap not in {pair[side] for pair in pairs}]
        if unpaired:
            console.print(f"Unpaired in the {model.role}: {', '.join(unpaired)}", highlight=False)


def inspect_model(role: str, network: DictConfig, num_classes: int) -> Inspected:
    """Build a model, on the meta device where it can be, and find its taps."""
    from kd_lightning.models import default_input_size

    name = _plain(network.model)
    size = _input_size(role, network.input_size) or default_input_size(name)
    given = _given_taps(role, network.taps)
    shown = name if isinstance(name, str) else name["_target_"]
    for device in ("meta", "cpu"):
        try:
            return _inspect_on(device, role, name, shown, size, num_classes, given)
        except UserError:
            raise
        except Exception as error:
            if device == "cpu":
                raise UserError(
                    f"{role}.input_size={list(size)}: {shown} does not run on it ({error}); give the size it takes"
                ) from error
    raise AssertionError


def _inspect_on(
    device: str, role: str, name: Any, shown: str, size: Shape, num_classes: int, given: Mapping[str, str]
) -> Inspected:
    import torch

    from kd_lightning.models import create_model
    from kd_lightning.taps import find_taps, tap_shapes

    with torch.device(device):
        model: nn.Module = create_model(name, num_classes, size[0], key=f"{role}.model")
        example = torch.zeros(2, *size)
    try:
        taps = {**find_taps(model, example), **given}
        shapes = tap_shapes(model, example, taps)
    except UserError as error:
        raise UserError(f"{role}.{error}") from error
    params = sum(parameter.numel() for parameter in model.parameters())
    return Inspected(role, shown, size, params, taps, shapes)


def table_of(models: list[Inspected], pairs: list[tuple[str, str]]) -> Table:
    """The taps in rows, a pair in one row; the models side by side."""
    from rich.table import Table

    table = Table()
    for model in models:
        heading = f"{model.role}: {model.name}"
        detail = f"{model.params / 1e6:.2f}M params, input {'x'.join(map(str, model.input_size))}"
        table.add_column(heading, style="bold")
        table.add_column(detail, overflow="fold")
        table.add_column("shape", justify="right")
    student, teacher = models[0], models[-1]
    rows = (
        _rows(list(student.taps), list(teacher.taps), pairs) if len(models) > 1 else [(t, None) for t in student.taps]
    )
    for left, right in rows:
        table.add_row(*student.cells(left), *(teacher.cells(right) if len(models) > 1 else []))
    return table


def _rows(
    students: list[str], teachers: list[str], pairs: list[tuple[str, str]]
) -> list[tuple[str | None, str | None]]:
    """Both lists merged, in order: a pair in one row, whatever has no partner in a row of its own."""
    rows: list[tuple[str | None, str | None]] = []
    for left, right in pairs:
        while students and students[0] != left:
            rows.append((students.pop(0), None))
        while teachers and teachers[0] != right:
            rows.append((None, teachers.pop(0)))
        rows.append((students.pop(0), teachers.pop(0)))
    return rows + [(left, None) for left in students] + [(None, right) for right in teachers]


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _given_taps(role: str, taps: Any) -> dict[str, str]:
    taps = _plain(taps)
    if taps == "auto":
        return {}
    if not isinstance(taps, dict) or not all(isinstance(address, str) for address in taps.values()):
        raise UserError(f"{role}.taps={taps}: give auto, or a mapping such as {{stage3: layer3.2}}")
    return {str(name): address for name, address in taps.items()}


def _input_size(role: str, size: Any) -> Shape | None:
    size = _plain(size)
    if size is None:
        return None
    if not isinstance(size, list) or len(size) != 3 or not all(type(n) is int and n > 0 for n in size):
        raise UserError(f"{role}.input_size={size}: give [channels, height, width], such as [3,224,224]")
    return (size[0], size[1], size[2])
