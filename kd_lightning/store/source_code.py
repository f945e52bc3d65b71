"""Code that no release fixes: the source of the user's own classes, and of the modules that they import."""

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

RELEASED = ("kd_lightning.", "lightning.", "timm.", "torch.", "torchvision.")  # whose versions a run records
INSTALLED = {"site-packages", "dist-packages"}  # folders of what others have released
BY_NAME = "hydra.utils.get_"  # functions that give what stands under a `path`


def own_code(*values: Any) -> dict[str, str]:
    """SHA-256 of the file of each `_target_` in plain values that is the user's own, and of what these files import.

    By the targets' names and those of the modules. Imports are read, not run: those of the user's own modules that
    stand in the text, at whatever depth, followed from module to module. What cannot be found is left out.
    """
    names = sorted({name for value in values for name in targets(value) if not is_released(name)})
    files = {name: file for name in names if (file := source_file(name)) is not None}
    modules: dict[str, Path] = {}
    for name in files:
        for module in modules_of(name):
            follow(module, modules)
    code = files | {name: file for name, file in modules.items() if file not in files.values()}
    return {name: hashlib.sha256(code[name].read_bytes()).hexdigest() for name in sorted(code)}


def is_released(name: str) -> bool:
    return f"{name}.".startswith(RELEASED)


def targets(value: Any) -> Iterator[str]:
    """The name of each class or function that nested plain values are built by."""
    if isinstance(value, dict):
        if isinstance(target := value.get("_target_"), str):
            yield target
            if target.startswith(BY_NAME) and isinstance(value.get("path"), str):
                yield value["path"]
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for inner in value:
            yield from targets(inner)


def source_file(name: str) -> Path | None:
    """Where a class or function is written; None for what has no source, or is not found."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(located(name)))
    except Exception:  # whatever an import may raise; it is reported where the object is made
        return None
    return None if file is None else Path(file)


def located(name: str) -> Any:
    """What stands under a dotted name: of a module that is imported, or of a class in it. Raises what that raises."""
    first, *others = name.split(".")
    found: Any = import_module(first)
    for place, part in enumerate(others):
        if not hasattr(found, part):
            import_module(".".join([first, *others[: place + 1]]))
        found = getattr(found, part)
    return found


def modules_of(name: str) -> list[str]:
    """The modules that a name stands for: where it is found, and where the class or function is written."""
    parts = name.split(".")
    above = [".".join(parts[:length]) for length in range(1, len(parts))]
    written = str(getattr(inspect.unwrap(located(name)), "__module__", None))
    return [*(module for module in above if sys.modules.get(module) is not None), written]


def follow(name: str, found: dict[str, Path]) -> None:
    """Add the files of a module of the user's own, of the packages around it, and of all that these import."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        module = ".".join(parts[:length])
        if module in found:
            continue
        file = file_of(module)
        if file is not None:
            found[module] = file
            for imported in imports(module, file):
                follow(imported, found)


def file_of(module: str) -> Path | None:
    """The file of a module of the user's own; None of one that others have released, or that is not there."""
    top, *inner = module.split(".")
    if is_released(module) or top in sys.stdlib_module_names:
        return None
    folders, file = searched(top)
    for name in inner:
        file = next((path for folder in folders for path in candidates(folder, name) if path.is_file()), None)
        folders = [folder / name for folder in folders if (folder / name).is_dir()]
    return file if file is not None and not INSTALLED & set(file.parts) else None


def searched(top: str) -> tuple[list[Path], Path | None]:
    """The folders of a package that is no part of another, and its file."""
    try:
        spec = find_spec(top)  # of such a module it runs nothing
    except (ImportError, ValueError):
        return [], None
    if spec is None:
        return [], None
    file = Path(spec.origin) if spec.has_location and spec.origin else None
    return [Path(folder) for folder in spec.submodule_search_locations or ()], file


def candidates(folder: Path, name: str) -> list[Path]:
    return [folder / name / "__init__.py", folder / f"{name}.py"]


def imports(module: str, file: Path) -> Iterator[str]:
    """The modules that a file names in its imports, also in functions; of `from a import b` both `a` and `a.b`."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):  # no source in Python; it is reported where it is imported
        return
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            around = package.split(".")
            above = around[: max(0, len(around) - node.level + 1)] if node.level else []
            base = ".".join(filter(None, [*above, node.module]))
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
