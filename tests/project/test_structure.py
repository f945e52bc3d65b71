"""The tree says what the architecture is: folders, and the direction of imports."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "kd_lightning"
# Imports point down this list and never back; on one line they may use those to their right.
ROWS = (
    ("commands", "cli"),
    ("sweeps",),
    ("inference",),
    ("experiment", "config"),
    ("reporting", "exporting"),
    ("plans",),
    ("teachers",),
    ("training",),
    ("networks",),
    ("module", "callbacks", "curricula", "learners"),
    ("objective", "term", "sources", "tasks", "data"),
    ("losses", "conversions", "optimizers", "taps", "models", "schedules", "signals", "batch"),
    ("store",),
    ("tracking",),
    ("runs",),
    ("finite", "ranks", "system", "terminal", "columns", "errors", "part", "lazy_names"),
)
PLACE = {room: (row, place) for row, rooms in enumerate(ROWS) for place, room in enumerate(rooms)}
ABOVE_HYDRA = PLACE["experiment"][0]  # below it nothing knows Hydra
ROLES = re.compile(r"^(student|teacher|scratch)$|\b(student|teacher|scratch)([.@]|_taps)")  # by itself, or in a key
# Below the experiment roles are named by the caller: the public constructor of DistillationModule, and what
# has a reason of its own, which are a public default, where files of weights hold them, and the titles of a figure.
NAMES_ROLES = {
    "module",
    "losses.sample_weights",
    "curricula.difficulties.asked",
    "curricula.difficulties.bandits",
    "curricula.difficulties.dynamic",
    "curricula.difficulties.running",
    "curricula.path.learning_path",
    "schedules.adaptive",
    "models.weights.readings",
    "tasks.regression",
}
NAMES_ROLES |= {"runs.summary", "runs.config"}  # where the roles of networks are defined; the keys of a config
WITHOUT_ROLES = ("module", "callbacks", "curricula", "learners", *ROWS[10], *ROWS[11], "finite")
WITHOUT_ROLES += ("runs", "reporting", "sweeps", "tracking", "columns")  # which follow a summary's plan
# What is classification's: its metrics, its classes, its figures; whole words.
OF_CLASSIFICATION = re.compile(r"\b(top1|top5|num_classes|class_names|TopKAccuracy|confusions?|Classification)\b")
# Where it stands: its task and figures, models, data; what builds networks for the data's classes and tells their
# logits among several outputs; the short form of the module; what loggers draw of it.
KNOWS_CLASSES = (
    *("tasks", "models", "data", "reporting.figures.classification", "reporting.pages.classification"),
    *("taps", "conversions", "sources", "networks", "teachers", "training.answers", "config.parts.own_model"),
    "training.steps",
    *("commands.inspect", "module", "learners.sources", "inference", "exporting"),
    *("tracking.confusions", "tracking.outcome", "tracking.tensorboard", "tracking.wandb.results"),
)
# Names of a run's files that stand for nothing else, as others do that are keys of configs too.
OF_A_RUN = re.compile(
    r"(summary|checksums|environment|status|planned|sweep|figures|curriculum|run)\.json|evaluation\.npz|metrics\.csv|report\.html"
    r"|multirun\.yaml|\.hydra(/|$)|(^|/)checkpoints(/|$)|\.ckpt|student\.safetensors|log\.txt|^\.running$"
)
CONFIGS_OF_CLASSES = ("task", "data", "inspect.yaml", "wandb_sweep.yaml")
MOST_FILES = 12  # in a folder
MOST_LINES = 400  # in a file


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


FILES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}
FOLDERS = sorted({file.parent for file in FILES.values()})
FUNCTIONS = sorted(name for name in FILES if name.startswith("losses.functional."))


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[str]:
    """What a module imports, at whatever depth; of this package without its name."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                found
                if (found := f"{node.module}.{alias.name}").removeprefix("kd_lightning.") in FILES
                else node.module
                for alias in node.names
            )


LOCKS, RENAMES = "system.locks", "system.files"  # the one place that takes a file's lock, and the one that renames
RENAMING = {"os": {"replace", "rename", "renames"}, "shutil": {"move"}}


def locks_in(module: str) -> Iterator[str]:
    """Where a module names what takes a lock of a file."""
    yield from (name for name in imported(module) if name.partition(".")[0] in ("filelock", "fcntl"))


def renames_in(module: str) -> Iterator[str]:
    """Where a module renames a file or a folder: by `os` and `shutil`, or by a path's own method.

    `replace` of a path takes one argument, that of a text two; other names of a module's functions are none of theirs.
    """
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module in RENAMING:
            yield from (alias.name for alias in node.names if alias.name in RENAMING[node.module])
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in RENAMING:
            if node.attr in RENAMING[node.value.id]:
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            given = len(node.args) + len(node.keywords)
            is_of_a_path = node.func.attr == "rename" or (node.func.attr == "replace" and len(node.args) == given == 1)
            if is_of_a_path:
                yield ast.unparse(node)


@pytest.mark.parametrize("module", sorted(FILES))
def test_one_place_takes_locks_and_one_renames(module: str) -> None:
    assert bool([*locks_in(module)]) == (module == LOCKS)
    assert bool([*renames_in(module)]) == (module == RENAMES)


def own(module: str) -> set[str]:
    return {name.removeprefix("kd_lightning.") for name in imported(module) if name.startswith("kd_lightning.")}


def room_of(module: str) -> str:
    return module.partition(".")[0]


def test_every_module_stands_in_a_room() -> None:
    assert {room_of(module) for module in FILES} - {""} == set(PLACE)


@pytest.mark.parametrize("module", sorted(FILES.keys() - {""}))
def test_imports_point_down(module: str) -> None:
    row, place = PLACE[room_of(module)]
    for other in own(module):
        if room_of(other) not in ("", room_of(module)):
            assert PLACE[room_of(other)] > (row, place), f"{module} imports {other}"


@pytest.mark.parametrize("module", sorted(FILES.keys() - {""}))
def test_nothing_below_the_experiment_knows_hydra(module: str) -> None:
    if PLACE[room_of(module)][0] > ABOVE_HYDRA:
        assert not {name.partition(".")[0] for name in imported(module)} & {"hydra", "omegaconf"}


def test_an_experiment_is_read_in_one_go() -> None:
    lines = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in FILES.items()}
    assert sum(count for name, count in lines.items() if room_of(name) == "experiment") < 1200


def roles_in(node: ast.AST) -> list[str]:
    """The text in a part of a module that names a role, without what documents it."""
    told = {id(part.value) for part in ast.walk(node) if isinstance(part, ast.Expr)}
    texts = (part for part in ast.walk(node) if isinstance(part, ast.Constant) and id(part) not in told)
    return [text.value for text in texts if isinstance(text.value, str) and ROLES.search(text.value)]


@pytest.mark.parametrize("module", sorted(name for name in FILES if room_of(name) in WITHOUT_ROLES))
def test_roles_are_named_by_the_caller(module: str) -> None:
    if module == "module":
        kind = next(part for part in tree(module).body if isinstance(part, ast.ClassDef))
        others = [part for part in kind.body if getattr(part, "name", "") != "__init__"]
        assert [text for part in others for text in roles_in(part)] == []
    elif module not in NAMES_ROLES:
        assert roles_in(tree(module)) == []


@pytest.mark.parametrize("module", sorted(FILES.keys() - {"", "runs.files"}))
def test_a_runs_files_are_named_in_one_place(module: str) -> None:
    found = (part.value for part in ast.walk(without_docstrings(module)) if isinstance(part, ast.Constant))
    assert [text for text in found if isinstance(text, str) and OF_A_RUN.search(text)] == []


@pytest.mark.parametrize("module", sorted(FILES.keys() - {""}))
def test_what_is_of_classification_stands_in_its_place(module: str) -> None:
    if f"{module}.".startswith(tuple(f"{place}." for place in KNOWS_CLASSES)):
        return
    code = ast.unparse(without_docstrings(module))
    assert not OF_CLASSIFICATION.search(code), OF_CLASSIFICATION.search(code)


def test_configs_follow_the_task() -> None:
    conf = PACKAGE.parent / "conf"
    for file in conf.rglob("*.yaml"):
        values = "\n".join(line.partition("#")[0] for line in file.read_text(encoding="utf-8").splitlines())
        if file.relative_to(conf).parts[0] not in CONFIGS_OF_CLASSES:
            assert not re.search(r"\b(top1|top5|num_classes)\b", values), file


def without_docstrings(module: str) -> ast.Module:
    """A module's code, in whose docstrings examples may name what they like."""
    code = ast.parse(FILES[module].read_text(encoding="utf-8"))
    for node in ast.walk(code):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return code


@pytest.mark.parametrize("module", FUNCTIONS)
def test_functional_losses_import_torch_alone_and_lie_where_their_classes_do(module: str) -> None:
    others = {name.partition(".")[0] for name in imported(module)} - {"torch", *sys.stdlib_module_names}
    assert others <= {"kd_lightning"}
    assert all(name.startswith("losses.functional") for name in own(module))
    shared = {"samples", "sizes", "divergence", "teachers.weights"}
    name = module.removeprefix("losses.functional.")
    assert f"losses.{name}" in FILES or name in shared


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(PACKAGE.parent)))
def test_a_folder_is_seen_at_a_glance(folder: Path) -> None:
    assert len([file for file in folder.glob("*.py") if file.name != "__init__.py"]) <= MOST_FILES


@pytest.mark.parametrize("module", sorted(FILES))
def test_a_file_has_one_subject(module: str) -> None:
    text = FILES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert ast.get_docstring(tree(module)), "the first line says what it is about"


@pytest.mark.parametrize("module", FUNCTIONS)
def test_public_functions_of_tensors_tell_shapes_and_what_they_give(module: str) -> None:
    for node in tree(module).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            told = ast.get_docstring(node) or ""
            assert re.search(r"\([BNC], ?|\([BN],\)|\(B, \.\.\.\)|scalar|[Ss]hapes?", told), node.name


def raising(node: ast.FunctionDef) -> list[str]:
    """The exceptions that a function raises itself, apart from those that others hand it."""
    nested = {
        id(part) for inner in ast.walk(node) if inner is not node and is_function(inner) for part in ast.walk(inner)
    }
    raised = [part.exc for part in ast.walk(node) if isinstance(part, ast.Raise) and id(part) not in nested]
    names = [ast.unparse(error).partition("(")[0] for error in raised if isinstance(error, ast.Call)]
    return [name for name in names if name != "NotImplementedError"]


def is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


@pytest.mark.parametrize("module", sorted(FILES))
def test_public_functions_say_what_they_raise(module: str) -> None:
    """A class says it for its `__init__`; what a method takes over from its base is said there."""
    places: list[ast.Module | ast.ClassDef] = [tree(module)]
    places += [node for node in ast.walk(tree(module)) if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
    for place in places:
        for node in place.body:
            if isinstance(node, ast.FunctionDef) and (node.name == "__init__" or node.name[0] != "_"):
                described = place if node.name == "__init__" else node
                says, is_method = ast.get_docstring(described) or "", isinstance(place, ast.ClassDef)
                if raising(node) and not (is_method and described is node and not says):
                    told = "aise" in says or any(name in says for name in raising(node))
                    assert told, f"{node.name} raises {', '.join(raising(node))}"
