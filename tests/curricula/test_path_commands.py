"""`kd-train curriculum=learning_path`: a whole run on digits, and bad input before anything is trained."""

import itertools
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Command

PATH = ("curriculum=learning_path", "teacher.model=digits_cnn_4", "scratch=false", "callbacks.progress_bar=null")
SMALL = ("trainer.max_epochs=4", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "hydra.run.dir=run")


def test_digits_are_taught_class_by_class_and_all_at_the_end(command: Command, tmp_path: Path) -> None:
    outcome = command("kd-train", *PATH, *SMALL, "curriculum.gate.mastery=0.5", "curriculum.finish=0.25")
    assert outcome.code == 0, outcome.errors
    told = json.loads((tmp_path / "run" / "curriculum.json").read_text())
    names = [str(digit) for digit in range(10)]
    assert [node["id"] for node in told["graph"]["nodes"]] == names
    assert all(0 <= node["against"] <= 1 for node in told["graph"]["nodes"])
    assert 9 <= len(told["graph"]["edges"]) <= 9 + 20
    epochs = told["epochs"]
    assert [len(one["teaches"]) for one in epochs] == [1, 1, 1, 10]
    assert epochs[0]["decisions"][-1].startswith(f"path: {epochs[0]['teaches'][0]} → ")
    assert all({*one["concepts"]} == {*names} for one in epochs)
    assert "from now on all samples: the last 25% of the training begins" in epochs[3]["decisions"][-1]
    assert epochs[3]["decisions"][-1] in outcome.output
    again = command("kd-train", *PATH, *SMALL[:-1], "curriculum.gate.mastery=0.5", "curriculum.finish=0.25")
    assert again.code == 0, again.errors
    assert "training (" not in again.output  # the teacher is found
    repeated = json.loads((again.run / "curriculum.json").read_text())
    assert repeated == told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("data.val_fraction=0",), ("data.val_fraction=0", "LearningPath", "set data.val_fraction above 0")),
        (("curriculum.goal=ten",), ("curriculum.goal=ten", "is no concept of the graph")),
        (("curriculum.gate.mastery=2",), ("curriculum.gate.mastery=2", "above 0, and 1 at most")),
        (("curriculum.review=1",), ("curriculum.review=1",)),
        (("teacher=none",), ("teacher.logits", "teacher=none")),
        (("curriculum.against=null",), ("curriculum.against=null",)),
        (("curriculum/graph=file",), ("curriculum.graph.path=null", "node-link JSON or GraphML")),
        (
            ("curriculum/graph=file", "curriculum.graph.path=none.json"),
            ("curriculum.graph.path=none.json", "No such file"),
        ),
        (("curriculum/graph=hierarchy",), ("curriculum.graph=hierarchy", "no hierarchy")),
        (("curriculum/concepts=superclasses",), ("curriculum.concepts", "no hierarchy")),
        (("curriculum/concepts=folders",), ("curriculum.concepts=folders", "no files in folders")),
        (("curriculum/concepts=groups",), ("curriculum.concepts.groups=null",)),
        (("curriculum/concepts=groups", "curriculum.concepts.groups={odd: [1, 3, 11]}"), ("no class 11",)),
        (("curriculum.until={val/accuracy: 1}",), ("curriculum.until.val/accuracy", "it measures val/")),
        (("teacher.cache=prefill",), ("teacher.cache=prefill",)),
    ],
    ids=lambda value: value[-1] if isinstance(value[-1], str) else None,
)
def test_bad_input_is_refused_before_anything_is_trained(
    command: Command, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    networks = tuple(one for one in PATH if "teacher=none" not in arguments or "teacher" not in one)
    outcome = command("kd-train", *networks, *SMALL, *arguments)
    assert outcome.code == 2, outcome.output + outcome.errors
    [line] = outcome.error_lines
    assert all(word in line for word in words), line
    assert "epoch " not in outcome.output
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_files_labels_are_concepts_which_prerequisites_order(command: Command, tmp_path: Path) -> None:
    labels = [("small", "large")[number % 2] for number in range(899)]  # digits are trained and validated on 899
    (tmp_path / "labels.csv").write_text("label\n" + "\n".join(labels))
    links = [{"source": "large", "target": "small"}]
    graph = {"directed": True, "nodes": [{"id": "small"}, {"id": "large"}], "links": links}
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    arguments = ("curriculum/concepts=file", "curriculum.concepts.path=labels.csv", "curriculum/graph=file")
    outcome = command(
        "kd-train", *PATH, *SMALL, *arguments, "curriculum.graph.path=graph.json", "curriculum.goal=small",
        "curriculum/gate=after_epochs", "teacher.cache=logits",
    )  # fmt: skip
    assert outcome.code == 0, outcome.errors
    told = json.loads((tmp_path / "run" / "curriculum.json").read_text())
    assert [one["teaches"] for one in told["epochs"]] == [["large"], ["small"], ["large", "small"], ["large", "small"]]
    assert told["graph"]["directed"]
    assert all(0 < value <= 1 for value in told["epochs"][-1]["concepts"].values())
    again = command("kd-eval", "run=run")
    assert again.code == 0, again.errors


def test_an_answer_about_validation_is_kept_for_all_runs(command: Command, tmp_path: Path) -> None:
    first = command("kd-train", *PATH, *SMALL, "trainer.max_epochs=1", "teacher.trainer.max_epochs=2")
    assert first.code == 0, first.errors
    kept = first.output.count("asked about all validation samples")
    assert kept == 2  # whether they are right, and how sure
    again = command("kd-train", *PATH, *SMALL[1:-1], "trainer.max_epochs=2", "teacher.trainer.max_epochs=2")
    assert again.code == 0, again.errors
    assert "asked about" not in again.output


@pytest.mark.parametrize(
    ("links", "options", "words"),
    [
        (["0 1", "1 2", "2 0"], (), ("curriculum.graph", "in a circle, 0 → 1 → 2 → 0")),
        (["0 1", "2 3"], ("curriculum.graph.prerequisites=false", "curriculum.start=0", "curriculum.goal=3"),
         ("curriculum.goal", "no path of the graph leads from 0 to 3")),
        (["0 1", "1 ten"], (), ("path=graph.json", "node ten is no concept of the data")),
    ],
    ids=["cycle", "unreachable", "unknown"],
)  # fmt: skip
def test_a_graph_that_leads_nowhere_is_refused(
    command: Command, tmp_path: Path, links: list[str], options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    ends = [link.split() for link in links]
    graph = {
        "directed": True,
        "nodes": [{"id": name} for name in sorted({one for pair in ends for one in pair})],
        "links": [{"source": one, "target": other} for one, other in ends],
    }
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    arguments = ("curriculum/graph=file", "curriculum.graph.path=graph.json")
    outcome = command("kd-train", *PATH, *SMALL, *arguments, *options)
    assert outcome.code == 2, outcome.output + outcome.errors
    [line] = outcome.error_lines
    assert all(word in line for word in words), line
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_what_is_kept_knows_the_files_of_its_curriculum(command: Command, tmp_path: Path) -> None:
    numbers = tmp_path / "hard.csv"
    given = (
        "scratch={curriculum: {_target_: kd_lightning.curricula.Paced, difficulty: {_target_: kd_lightning.curricula"
    )
    given += ".FromFile, path: hard.csv}, order: {_target_: kd_lightning.curricula.EasyFirst}, pace: {_target_: "
    given += "kd_lightning.curricula.Linear}}}"
    small = ("teacher.model=digits_cnn_4", *SMALL[1:3], "trainer.max_epochs=1", "callbacks.progress_bar=null", given)
    trained = []
    for content in ("1\n2\n", "1\n2\n", "2\n1\n"):
        numbers.write_text("0\n" + content * 449)  # digits are trained and validated on 899
        outcome = command("kd-train", *small)
        assert outcome.code == 0, outcome.errors
        trained.append("student alone  digits_cnn_4, training" in outcome.output)
    assert trained == [True, False, True]


def test_folders_in_folders_are_walked_by_their_hierarchy(command: Command, tmp_path: Path) -> None:
    places = ("animals/cat", "animals/dog", "vehicles/car", "vehicles/van")
    for split, place, number in itertools.product(("train", "val", "test"), places, range(6)):
        path = tmp_path / "images" / split / place / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = 40 * places.index(place) + 5 * number
        Image.new("RGB", (36, 36), (tone, 255 - tone, 20)).save(path)
    data = ("data=folder", "data.root=images", "data.image_size=32", "data.resize_size=36", "data.batch_size=8")
    networks = ("student.model=resnet8", "teacher.model=resnet8", "teacher.trainer.max_epochs=1", "scratch=false")
    outcome = command(
        "kd-train", *data, *networks, *SMALL, "callbacks.progress_bar=null", "curriculum=learning_path",
        "curriculum/concepts=folders", "curriculum/graph=hierarchy", "curriculum/gate=after_epochs",
        "curriculum.start=vehicles/van", "curriculum.finish=0", "curriculum.against=null",
    )  # fmt: skip
    assert outcome.code == 0, outcome.errors
    told = json.loads((tmp_path / "run" / "curriculum.json").read_text())
    walked = [one["teaches"][0] for one in told["epochs"]]
    assert walked[:2] == ["vehicles/van", "vehicles/car"]  # first what is in the same folder
    assert {*walked[2:]} == {"animals/cat", "animals/dog"}
    assert [node["id"] for node in told["graph"]["nodes"] if not node.get("waypoint")] == [*places]
    assert "animals/cat" in (tmp_path / "run" / "report.html").read_text()
