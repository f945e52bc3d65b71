"""Whatever code of the user's own decides something is in its key: the class, and the modules that it imports."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kd_lightning.store import key_of
from kd_lightning.store.keys import digest
from kd_lightning.store.source_code import own_code

Written = Callable[..., dict[str, str]]


def net(imports: str) -> str:
    return f"from torch import nn\n{imports}\n\nclass Net(nn.Identity):\n    pass\n"


@pytest.fixture
def code_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """What is told of a class once these files stand in a folder from which Python imports."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(target: str, files: dict[str, str]) -> dict[str, str]:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
            forget(Path(name).parts[0].removesuffix(".py"), tmp_path)
        importlib.invalidate_caches()
        return own_code({"student": [{"_target_": target}]})

    yield written
    own = {path.stem if path.suffix else path.name for path in tmp_path.iterdir()}
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        del sys.modules[name]


def forget(top: str, folder: Path) -> None:
    """Have a module of this name be imported anew where another test's was."""
    known = sys.modules.get(top)
    if known is not None and folder not in Path(str(known.__file__)).parents:
        for name in [name for name in sys.modules if name.partition(".")[0] == top]:
            del sys.modules[name]


def test_a_helper_and_its_helper_are_told_and_what_nobody_imports_is_not(code_of: Written) -> None:
    files = {"mine.py": net("import helper"), "helper.py": "from deeper import WIDTH", "deeper.py": "WIDTH = 8"}
    code = code_of("mine.Net", files)
    assert [*code] == ["deeper", "helper", "mine.Net"]
    for file, name in (("deeper.py", "deeper"), ("helper.py", "helper"), ("mine.py", "mine.Net")):
        changed = code_of("mine.Net", {file: files[file] + "\nMORE = 1\n"})
        assert {told for told in code if code[told] != changed[told]} == {name}
        code = changed
    assert code_of("mine.Net", {"unrelated.py": "WIDTH = 9"}) == code


def test_what_others_release_is_not_followed(code_of: Written) -> None:
    imports = "def later():\n    import json, xml.dom, numpy, torchvision.models, timm, kd_lightning.losses, lightning"
    assert [*code_of("mine.Net", {"mine.py": net(imports)})] == ["mine.Net"]
    assert own_code({"_target_": "torch.nn.Linear"}, {"_target_": "kd_lightning.losses.SoftTarget"}) == {}


FAMILY = {
    "family/__init__.py": "",
    "family/sizes.py": "WIDTH = 8",
    "family/inner/__init__.py": "",
    "family/inner/deep.py": "from .. import sizes\nfrom ..sizes import WIDTH",
    "family/unrelated.py": "",
    "outside.py": "",
}


@pytest.mark.parametrize(
    ("imports", "told"),
    [
        ("from . import sizes", ["family.sizes"]),
        ("from .sizes import WIDTH", ["family.sizes"]),
        ("from .sizes import *", ["family.sizes"]),
        ("import family.sizes as its", ["family.sizes"]),
        ("from .inner import deep", ["family.inner", "family.inner.deep", "family.sizes"]),
        ("def later():\n    from family.sizes import WIDTH", ["family.sizes"]),
        ("class Of:\n    def later(self):\n        import outside", ["outside"]),
        ("if False:\n    import nowhere.at.all\n    from . import gone\n    from .... import above", []),
        ("", []),
    ],
)
def test_the_imports_of_a_package_are_followed(imports: str, told: list[str], code_of: Written) -> None:
    code = code_of("family.net.Net", {**FAMILY, "family/net.py": net(imports)})
    assert [*code] == sorted(["family", "family.net.Net", *told])


def test_where_a_package_takes_a_class_from_is_told(code_of: Written) -> None:
    files = {"family/__init__.py": "from .net import Net", "family/net.py": net("from . import sizes")}
    code = code_of("family.Net", {**FAMILY, **files})
    assert [*code] == ["family", "family.Net", "family.sizes"]
    changed = code_of("family.Net", {"family/__init__.py": "from .net import Net\nNet.width = 9\n"})
    assert {name for name in code if code[name] != changed[name]} == {"family"}


def test_modules_that_import_each_other_are_told_once(code_of: Written) -> None:
    files = {"mine.py": net("import one"), "one.py": "import other, mine", "other.py": "import one"}
    assert [*code_of("mine.Net", files)] == ["mine.Net", "one", "other"]


def test_folders_without_an_init_are_packages_too(code_of: Written) -> None:
    files = {"space/mine.py": net("from .deep.er import helper"), "space/deep/er/helper.py": "import space.last"}
    code = code_of("space.mine.Net", {**files, "space/last.py": ""})
    assert [*code] == ["space.deep.er.helper", "space.last", "space.mine.Net"]


def test_what_cannot_be_read_as_python_is_told_as_it_is(code_of: Written) -> None:
    later = "def later():\n    import torn, bytes_alone"
    files = {"mine.py": net(later), "torn.py": "def (", "bytes_alone.py": "\0"}
    assert [*code_of("mine.Net", files)] == ["bytes_alone", "mine.Net", "torn"]


def test_a_class_that_is_not_there_has_no_code(code_of: Written) -> None:
    assert code_of("mine.Other", {"mine.py": net("")}) == {}
    assert code_of("nowhere.Net", {}) == {}
    assert code_of("broken.Net", {"broken.py": "raise SystemError"}) == {}


def test_a_key_tells_each_class_that_its_values_name(code_of: Written) -> None:
    code_of("mine.Net", {"mine.py": net("import helper"), "helper.py": ""})
    by_name = {"_target_": "hydra.utils.get_class", "path": "mine.Net"}
    for key in (key_of({"model": {"_target_": "mine.Net"}}), key_of({}, {"_target_": "mine.Net"}), key_of({}, by_name)):
        assert {"helper", "mine.Net"} <= key["own_code"].keys()
    before = digest(key_of({}, by_name))
    code_of("mine.Net", {"helper.py": "WIDTH = 9"})
    assert digest(key_of({}, by_name)) != before
