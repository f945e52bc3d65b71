"""kd-inspect: a table of taps, and bad input in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from kd_lightning.commands.inspect import main


@pytest.fixture
def inspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run the command in an empty folder: its exit code, its output and its error lines."""

    def run(*overrides: str) -> tuple[int, str, list[str]]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["kd-inspect", *overrides])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        output, errors = capsys.readouterr()
        assert "Traceback" not in errors
        assert list(tmp_path.iterdir()) == [], "it only reads: no folder, no files"
        return code, output, [line for line in errors.splitlines() if line.startswith("error:")]

    return run


def rows(text: str) -> list[list[str]]:
    """The cells of the table's rows."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]


def test_shows_both_models_and_their_pairs(inspect) -> None:  # type: ignore[no-untyped-def]
    code, output, _ = inspect("student.model=resnet8x4", "teacher.model=timm/vit_tiny_patch16_224")
    assert code == 0
    assert "1.23M params" in output
    assert "5.54M params" in output
    assert ["pooled", "fc:input", "256", "pooled", "head:input", "192"] in rows(output)
    assert ["stage3", "layer3", "256x8x8", "", "", ""] in rows(output)
    assert "Unpaired in the teacher: stage1, stage2, stage3, stage4" in output


def test_input_size_makes_sizes_meet_and_taps_are_added(inspect) -> None:  # type: ignore[no-untyped-def]
    _, output, _ = inspect(
        "student.model=resnet8x4",
        "student.input_size=[3,56,56]",
        "student.taps={stage9: layer3.0}",
        "teacher.model=timm/vit_tiny_patch16_224",
    )
    assert ["stage9", "layer3.0", "256x14x14", "stage4", "blocks.11:tokens", "192x14x14"] in rows(output)


def test_shows_a_student_alone_even_one_that_is_not_built_on_the_meta_device(inspect) -> None:  # type: ignore[no-untyped-def]
    _, output, _ = inspect("student.model=torchvision/regnet_y_400mf", "num_classes=7")
    assert ["logits", "(output)", "7"] in rows(output)
    assert ["stage1", "trunk_output.block1", "48x56x56"] in rows(output)
    assert "Unpaired" not in output


def test_shows_each_of_several_students_beside_the_teacher(inspect) -> None:  # type: ignore[no-untyped-def]
    code, output, _ = inspect(
        "student.models=[resnet8x4,{model: resnet20, taps: {stage9: layer3.0}}]", "teacher.model=resnet32x4"
    )
    assert code == 0
    assert output.count("7.43M params") == 2
    shown = [row[:3] for row in rows(output)]
    assert ["stage3", "layer3", "256x8x8"] in shown
    assert ["stage9", "layer3.0", "64x8x8"] in shown


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["student.model=resnet8x5"], ["student.model=resnet8x5", "resnet8x4"]),
        (["student.model=resnet20", "teacher.model=timm/resnet19"], ["teacher.model=timm/resnet19", "timm/resnet18"]),
        (["student.model=resnet20", "student.taps={a: layer9}"], ["student.taps.a=layer9", "layer3"]),
        (["student.model=resnet20", "student.taps=all"], ["student.taps=all", "auto"]),
        (["student.model=resnet20", "student.input_size=32"], ["student.input_size=32", "[3,224,224]"]),
        (
            ["student.model=timm/vit_tiny_patch16_224", "student.input_size=[3,32,32]"],
            ["timm/vit_tiny_patch16_224", "3x32x32", "224"],
        ),
        ([], ["student.model"]),
        (["student.models=[resnet20,resnet8x5]"], ["student.models.1=resnet8x5", "resnet8x4"]),
        (["student=resnet20"], ["student"]),
    ],
)
def test_bad_input_is_one_line_with_exit_code_2(inspect, overrides: list[str], words: list[str]) -> None:  # type: ignore[no-untyped-def]
    code, _, errors = inspect(*overrides)
    assert code == 2
    assert len(errors) == 1
    assert all(word in errors[0] for word in words), errors


def test_the_command_loads_no_torch_before_it_has_a_config() -> None:
    code = "import sys, kd_lightning.commands.inspect; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
