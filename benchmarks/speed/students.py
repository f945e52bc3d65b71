"""What one teacher for several students costs in a step, over the students' own steps and one pass of the teacher."""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.speed.ours import Ours, composed
from benchmarks.speed.overhead import batches
from benchmarks.speed.settings import Pair
from benchmarks.speed.timing import Contestant, Effort, Row, alternate, median_ratio, say, stepwise

TEACHER = "resnet32x4"
STUDENTS = ("resnet8x4", "ShuffleV1", "resnet20")
EFFORT = Effort(steps=4, warm_up=1, repeats=7)
TOGETHER, WARM, PASS = "together", "together, warm cache", "a pass of the teacher"


def measure(
    root: Path, folder: Path, teacher: str = TEACHER, students: Sequence[str] = STUDENTS, effort: Effort = EFFORT
) -> list[Row]:
    """All in alternation: each student alone on labels, all together without and with kept answers, the teacher."""
    say(f"students: {teacher} → {', '.join(students)}")
    plain = ["trainer.accelerator=cpu", f"paths.cache_dir={folder}"]

    def ours(student: str, *overrides: str) -> Ours:
        return Ours(composed(Pair(teacher, student), root, [*plain, *overrides]), folder)

    alone = {student: ours(student, "teacher=none", "loss=ce") for student in students}
    models = f"student.models=[{','.join(students)}]"
    together, warm = ours(students[0], models), ours(students[0], models, "teacher.cache=logits")
    warm(effort.warm_up, effort.steps)  # so that the cache holds the answers to all steps that are measured
    contestants: dict[str, Contestant] = {**alone, PASS: stepwise(passes(together)), TOGETHER: together, WARM: warm}
    seconds = alternate(contestants, effort)
    own = [sum(each) for each in zip(*(seconds[student] for student in students), strict=True)]
    with_teacher = [sum(each) for each in zip(own, seconds[PASS], strict=True)]
    names = f"{teacher} → {', '.join(students)}"
    return [
        row(
            f"{names}: a step together over the students' own and a pass of the teacher",
            with_teacher,
            TOGETHER,
            seconds,
        ),
        row(f"{names}: a step together with a warm cache over the students' own", own, WARM, seconds),
    ]


def row(what: str, parts: list[float], whole: str, seconds: dict[str, list[float]]) -> Row:
    """One way of training all together, over what its parts cost by themselves."""
    sums = {"by themselves": parts, whole: seconds[whole]}
    costs = [1000 * statistics.median(one) for one in sums.values()]
    return Row("students", what, *costs, "ms", median_ratio(seconds[whole], parts), {**seconds, **sums})


def passes(ours: Ours) -> Iterator[None]:
    """One forward pass of the teacher for each `next`, over a training batch that is there already."""
    teacher = ours.experiment.teacher.build(ours.parts.context)
    assert teacher is not None
    layout = torch.channels_last if ours.config.channels_last else torch.contiguous_format
    teacher = teacher.eval().to(memory_format=layout)
    batch = next(batches(ours.data))["input"]
    while True:
        with torch.no_grad():
            teacher(batch)
        yield
