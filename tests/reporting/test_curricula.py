"""Whether curricula helped: paired by seed beside no curriculum and beside the random order at the same pace."""

import statistics
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from kd_lightning.reporting.pages.sweep_page import sweep_page
from kd_lightning.reporting.tables.curricula import curricula, sentence
from kd_lightning.reporting.tables.export import as_markdown
from kd_lightning.runs.collections.collection import Collection
from kd_lightning.runs.collections.curricula import Verdict, taught
from kd_lightning.runs.run import Run
from kd_lightning.runs.status import FINISHED
from tests.runs.summaries import distilled

KIND = "kd_lightning.curricula."
CLASSES = {"easy_first": "EasyFirst", "hard_first": "HardFirst", "random": "RandomOrder"}
NONE = [0.70, 0.71, 0.72]
RANDOM = [0.74, 0.76, 0.75]


class Trained(Run):
    """A run whose curves are not read from a folder."""

    steps = 100

    @property
    def curves(self) -> pd.DataFrame:  # type: ignore[override]
        return pd.DataFrame({"step": [1, self.steps]})


def run(name: str, seed: int, reached: float, order: str | None, steps: int = 100, **further: str) -> Trained:
    start = float(further.get("curriculum.pace.start", 0.2))
    record: dict[str, Any] | None = None
    if order in CLASSES:
        pace = {"_target_": f"{KIND}Linear", "start": start}
        record = {"name": "Paced", "order": {"_target_": f"{KIND}{CLASSES[order]}"}, "pace": pace}
    elif order is not None:
        graph = {"_target_": f"{KIND}path.{'RandomGraph' if order == 'random graph' else 'TeacherGraph'}"}
        gate = {"_target_": f"{KIND}path.{'AfterEpochs' if order == 'by the clock' else 'Mastery'}"}
        record = {"name": "LearningPath", "gate": gate, **({} if order == "own" else {"graph": graph})}
    given = {"curriculum": "learning_path" if order else "null", "curriculum/graph": order or ""}
    if record and "order" in record:
        given = {"curriculum": "paced", "curriculum/order": str(order)}
    data = {} if record is None else {"curriculum": record}
    summary = distilled(None, None, {"model": "net", "top1_validation": reached}, seed=seed, data=data)
    found = Trained(Path(name), name, FINISHED, given | further | {"seed": str(seed)}, summary)
    object.__setattr__(found, "steps", steps)
    return found


def collection(orders: dict[str | None, list[float]], **further: Any) -> Collection:
    runs = [
        run(f"{order}-{seed}", seed, reached, order, **further)
        for order, values in orders.items()
        for seed, reached in enumerate(values)
    ]
    return Collection("sweep", runs, is_sweep=True)


def interval(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    differences = [100 * (a - b) for a, b in zip(ours, theirs, strict=True)]
    mean = statistics.fmean(differences)
    half = stats.t.ppf(0.975, len(ours) - 1) * statistics.stdev(differences) / len(ours) ** 0.5
    return mean, mean - half, mean + half


@pytest.mark.parametrize(
    ("reached", "verdict", "words"),
    [
        ([0.785, 0.80, 0.795], Verdict.HELPED, "Beyond the random order at the same pace easy_first {} helped."),
        ([0.685, 0.70, 0.695], Verdict.HURT, "Against the random order at the same pace easy_first {} did harm."),
        (
            [0.75, 0.74, 0.76],
            Verdict.NOTHING,
            "Nothing shows that the order of easy_first {} helped beyond the random order at the same pace.",
        ),
    ],
)
def test_an_order_helped_where_the_interval_over_its_control_lies_above_0(
    reached: list[float], verdict: Verdict, words: str
) -> None:
    runs = collection({None: NONE, "random": RANDOM, "easy_first": reached})
    random, one = taught(runs)
    assert (random.is_random, [*random.controls]) == (True, ["none"])
    assert one.controls["order"].verdict is verdict
    mean, low, high = interval(reached, RANDOM)
    difference = f"({mean:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}, 3 seeds)"
    assert sentence(runs) == words.format(difference).replace("easy_first", "curriculum/order=easy_first")
    table = curricula(runs)
    assert table is not None
    rows = {(row[0].text.rpartition("=")[2], row[1].text): row[2:] for row in table.rows}
    assert {order for order, beside in rows if beside == "no curriculum"} == {"random", "easy_first"}
    for beside, others in (("no curriculum", NONE), ("the random order at the same pace", RANDOM)):
        mean, low, high = interval(reached, others)
        seeds, found, p, _ = rows["easy_first", beside]
        assert (seeds.text, found.text, found.note) == ("3", f"{mean:+.2f}", f"{low:+.2f} to {high:+.2f}")
        expected = stats.ttest_rel(reached, others).pvalue
        assert p.text == ("< 0.001" if expected < 0.001 else f"{expected:.3f}")


def test_several_orders_stand_in_one_sentence() -> None:
    better, same = [0.785, 0.80, 0.795], [0.75, 0.74, 0.76]
    text = sentence(collection({"random": RANDOM, "easy_first": better, "hard_first": same}))
    assert text.count(".\n") == 0
    assert text.startswith("Beyond the random order at the same pace curriculum/order=easy_first (")
    assert "; nothing shows that the order of curriculum/order=hard_first (" in text


@pytest.mark.parametrize(
    ("orders", "words"),
    [
        ({None: NONE, "easy_first": RANDOM}, "for no run of the random order at the same pace stands beside it"),
        ({"random": RANDOM[:1], "easy_first": NONE}, "for it has fewer than two seeds in common with"),
        ({None: NONE, "path": RANDOM}, "for no run of a random graph with the same gate stands beside it"),
        ({None: NONE, "own": RANDOM}, "LearningPath (+4.00 points over no curriculum, 95 % interval"),
    ],
)
def test_what_is_not_known_says_why(orders: dict[str | None, list[float]], words: str) -> None:
    runs = collection(orders)
    [one] = [one for one in taught(runs) if not one.is_random]
    assert "order" not in one.controls or one.controls["order"].verdict is None
    assert words in sentence(runs)
    assert "is not known" in sentence(runs)


def test_a_learning_path_is_beside_a_random_graph_and_beside_the_clock() -> None:
    better = [0.785, 0.80, 0.795]
    runs = collection({"random graph": RANDOM, "by the clock": better, "path": better})
    found = {one.title: one for one in taught(runs)}
    assert {title.partition("=")[2]: [*one.controls] for title, one in found.items()} == {
        "random graph": [],
        "by the clock": [],  # no random graph was run by the clock
        "path": ["graph", "gate"],
    }
    text = sentence(runs)
    assert text.startswith("Beyond a random graph with the same gate curriculum/graph=path (")
    assert "; nothing shows that the gate of curriculum/graph=path (+0.00 points, " in text  # equal in all seeds
    assert text.endswith("stands beside it (curriculum/graph=random).")


def test_a_control_is_one_whatever_the_seeds_in_it() -> None:
    runs = collection({"random graph": RANDOM, "by the clock": NONE})
    for one in runs.runs:  # each seed has an order of its own, by the clock too
        assert one.summary is not None
        graph = {"_target_": f"{KIND}path.RandomGraph", "seed": int(one.seed)}
        one.summary.data["curriculum"]["graph"] = graph
    [random] = [one for one in taught(runs) if "gate" in one.controls]
    found = random.controls["gate"].paired
    assert found is not None
    assert found.difference.n == 3


def test_without_a_curriculum_nothing_is_said() -> None:
    runs = collection({None: NONE})
    assert sentence(runs) == ""
    assert curricula(runs) is None
    assert "Curricula" not in [section.title for section in sweep_page(runs).sections]
    assert curricula(collection({"easy_first": NONE})) is None  # beside nothing


def test_trainings_of_other_lengths_are_not_compared() -> None:
    runs = collection({"easy_first": NONE})
    longer = [run(f"random-{seed}", seed, reached, "random", steps=200) for seed, reached in enumerate(RANDOM)]
    runs = Collection("sweep", [*runs.runs, *longer], is_sweep=True)
    one, _ = taught(runs)
    assert one.controls["order"].paired is not None
    assert one.controls["order"].verdict is None
    assert "was trained for another number of steps" in sentence(runs)


def test_a_control_is_of_the_same_pace_and_of_what_else_was_given() -> None:
    quick = {"curriculum.pace.start": "0.5"}
    own = [run(f"easy-{seed}", seed, reached, "easy_first") for seed, reached in enumerate(NONE)]
    for further in (quick, {"temperature": "8"}):
        others = [run(f"random-{seed}", seed, reached, "random", **further) for seed, reached in enumerate(RANDOM)]
        one, _ = taught(Collection("sweep", [*own, *others], is_sweep=True))
        assert "order" not in one.controls


def test_the_page_and_markdown_have_the_sentence() -> None:
    runs = collection({None: NONE, "random": RANDOM, "easy_first": RANDOM})
    [section] = [section for section in sweep_page(runs).sections if section.id == "curricula"]
    assert section.text.startswith(sentence(runs))
    assert "the random order at the same pace" in as_markdown(runs)
