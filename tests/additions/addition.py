"""An addition: a folder with one Python file and one config below `conf/`, whose first line is the command."""

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ADDITIONS = {  # by folder: what its summary says of it, and what tables and pages say
    "text": ("Sentences", "bert"),
    "regression": ("num_outputs", "mean squared error"),
    "unlabelled_stream": ('"stream": "unlabelled"', "two_streams"),
    "weighted_loss": ("Disagreement", "hellinger"),
    "own_metric": ("brier_validation", "Brier score"),
    "own_task": ("Ordinal", "mean distance"),
    "growing_average": ("GrowingAverage", "GrowingAverage"),
    "two_teachers": ("digits_cnn_8 + Perceptron", "Perceptron"),
    "own_difficulty": ("own_difficulty.NearTie", "Paced"),
    "own_pace": ("own_pace.Wave", "Paced"),
    "by_difficulty": ("ByDifficulty", "ByDifficulty"),
    "own_schedule": ('"cooling_kd"', "cooling_kd"),
    "own_path": ("LearningPath", "LearningPath"),
    "larger_images": ("LargerImages", "LargerImages"),
    "one_assistant": ('"role": "assistant"', "assistant"),
    "two_students": ('"result": "first"', "second"),
    "relative_blocks": ("joined blocks", "joined blocks"),
    "pruned_student": ('"baseline": "unpruned"', "unpruned"),
    "joint_teacher": ('"teacher.ce"', "teacher"),
}


@dataclass(frozen=True)
class Addition:
    """One of `ADDITIONS`, by the name of its folder."""

    name: str

    @property
    def folder(self) -> Path:
        return HERE / self.name

    @property
    def code(self) -> Path:
        """Its only Python file."""
        [file] = (file for file in self.folder.rglob("*.py"))
        return file

    @property
    def config(self) -> Path:
        """Its only config."""
        [file] = (self.folder / "conf").rglob("*.yaml")
        return file

    @property
    def arguments(self) -> list[str]:
        """What a user types after `kd-train`."""
        first = self.config.read_text(encoding="utf-8").splitlines()[0]
        command, *arguments = shlex.split(first.removeprefix("# "))
        assert command == "kd-train"
        return arguments

    @property
    def summarised(self) -> str:
        return ADDITIONS[self.name][0]

    @property
    def shown(self) -> str:
        return ADDITIONS[self.name][1]

    def copy_to(self, folder: Path) -> None:
        """Lay its files into a folder, as a user's own."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


ALL = [Addition(name) for name in ADDITIONS]
