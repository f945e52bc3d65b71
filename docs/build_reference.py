"""The reference: a page for each config group with every key of its values, the Python interface, and the additions.

    python docs/build_reference.py

writes docs/reference/ anew, from conf/, from what the packages export, and from tests/additions/.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import yaml
from hydra.utils import get_object

from kd_lightning.config.comments import Comments

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
ADDITIONS = ROOT / "tests" / "additions"
FOLDER = ROOT / "docs" / "reference"
SEVERAL = ("loss", "logger")  # groups of which several values are chosen
MOST_SHOWN = 100  # signs of a value
COMMANDS = {
    "train": "kd-train",
    "eval": "kd-eval",
    "inspect": "kd-inspect",
    "export": "kd-export",
    "predict": "kd-predict",
}  # by the name of the root config
PACKAGES = (  # whose exported names are the Python interface
    "kd_lightning",
    "kd_lightning.losses",
    "kd_lightning.losses.functional",
    "kd_lightning.losses.sample_weights",
    "kd_lightning.sources",
    "kd_lightning.data",
    "kd_lightning.models",
    "kd_lightning.models.projectors",
    "kd_lightning.conversions",
    "kd_lightning.curricula",
    "kd_lightning.curricula.path",
    "kd_lightning.plans",
    "kd_lightning.optimizers",
    "kd_lightning.schedules",
    "kd_lightning.schedules.learning_rate",
    "kd_lightning.tasks",
    "kd_lightning.taps",
    "kd_lightning.callbacks",
    "kd_lightning.exporting",
    "kd_lightning.errors",
)


@dataclass(frozen=True)
class Key:
    """A key of a config: its dotted name, what it is set to, and what its comment says."""

    name: str
    value: str
    comment: str


class Config(Comments):
    """A file below conf/."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.name = file.relative_to(CONF).with_suffix("").as_posix()
        self.group, _, self.value = self.name.partition("/")

    @property
    def defaults(self) -> list[object]:
        """The entries of its defaults list, but itself."""
        loaded = yaml.safe_load(self.text)
        entries = loaded.get("defaults", []) if isinstance(loaded, dict) else []
        return [entry for entry in entries if entry != "_self_"]

    def rows(self) -> Iterator[Key]:
        """Its keys as a table shows them."""
        prefix = "" if self.is_global or not self.value else f"{'.'.join(Path(self.name).parent.parts)}."
        for key in self.entries():
            if key.above and key.beside:  # about more than this key
                yield Key("", "", key.above)
            source = " ".join(key.value.split())
            source = source if len(source) <= MOST_SHOWN else f"{source[:MOST_SHOWN]} …"
            if source or key.beside or key.above:
                yield Key(f"{prefix}{'.'.join(key.path)}", source, key.beside or key.above)


def groups() -> dict[str, list[Config]]:
    """The configs below conf/ by group, the one that is called default first."""
    found: dict[str, list[Config]] = {}
    for file in sorted(CONF.rglob("*.yaml"), key=lambda file: (file.parent, file.stem != "default", file.stem)):
        if file.parent != CONF:
            config = Config(file)
            found.setdefault(config.group, []).append(config)
    return dict(sorted(found.items()))


def table(keys: list[Key]) -> Iterator[str]:
    yield "| key | |"
    yield "|-|-|"
    for key in keys:
        said = [plain(key.comment)] if key.comment else []
        if key.name.endswith("_target_") and (page := documented(key.value)):
            said.append(f"[{key.value.rpartition('.')[2]}]({page})")
        yield f"| {code(f'{key.name}={key.value}' if key.value else key.name)} | {'; see '.join(said)} |"


def documented(target: str) -> str | None:
    """Where the interface's pages tell of a class or function, if one of the packages exports it."""
    if not target.startswith("kd_lightning."):
        return None
    name, value = target.rpartition(".")[2], get_object(target)
    for package in PACKAGES:
        if name in exported(import_module(package)) and getattr(import_module(package), name) is value:
            return f"python/{package}.md#{package}.{name}"
    return None


def code(text: str) -> str:
    """As code in a cell of a table."""
    return f"`{text}`".replace("|", "\\|") if text else ""


def plain(text: str) -> str:
    """A comment as Markdown: what may be markup is not, and what stands in brackets or braces is code."""
    parts = re.split(r"(`[^`]*`|\$?\{[^}]*\}|\[[^\]]*\])", text)
    return "".join(
        part if part.startswith("`") else code(part) if n % 2 else re.sub(r"([*_|<>])", r"\\\1", part)
        for n, part in enumerate(parts)
    )


def described(config: Config) -> Iterator[str]:
    """A value of a group: its header, what it builds on, its keys."""
    for is_verbatim, lines in groupby(config.header, key=lambda line: not line or line.startswith(" ")):
        if not is_verbatim:
            yield " ".join(plain(line) for line in lines)
        elif shown := dedent("\n".join(lines)).strip():
            yield f"\n```sh\n{shown}\n```\n"
    yield ""
    if config.defaults:
        yield f"Composed of {', '.join(code(entry_text(entry)) for entry in config.defaults)}, and of what follows."
        yield ""
    if rows := list(config.rows()):
        yield from table(rows)
        yield ""


def entry_text(entry: object) -> str:
    if isinstance(entry, dict):
        [(name, value)] = entry.items()
        value = f"[{','.join(value)}]" if isinstance(value, list) else value
        return f"{name.removeprefix('override ').removeprefix('/')}={'null' if value is None else value}"
    return str(entry)


def group_page(group: str, configs: list[Config]) -> Iterator[str]:
    root = {
        name: value
        for entry in Config(CONF / "train.yaml").defaults
        if isinstance(entry, dict)
        for name, value in entry.items()
    }
    yield f"# {group}"
    yield ""
    if group in root:
        several = f" or `{group}=[VALUE,VALUE]`" if group in SEVERAL else ""
        default = entry_text({group: root[group]})
        yield f"Chosen by `{group}=VALUE`{several}; kd-train has `{default}` unless told otherwise."
        yield ""
    for config in configs:
        yield f"## {config.value}"
        yield ""
        yield from described(config)


def root_page(name: str) -> Iterator[str]:
    yield f"# {COMMANDS[name]}: its own keys"
    yield ""
    yield from described(Config(CONF / f"{name}.yaml"))


def interface_page(package: str) -> Iterator[str]:
    """What a package exports, in the words of its docstrings."""
    module = import_module(package)
    yield f"# {package}"
    yield ""
    yield (module.__doc__ or "").strip()
    yield ""
    for name in exported(module):
        if f"{package}.{name}" not in PACKAGES:
            yield f"::: {package}.{name}"
            yield ""


def exported(module: ModuleType) -> list[str]:
    """The names that a package lists; of a module without a list, those that it defines."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return [name for name in getattr(module, "__all__", own) if not name.startswith("_")]


def additions_page() -> Iterator[str]:
    """Each addition in full."""
    yield "# Additions"
    yield ""
    yield "What an outsider writes, nothing edited in this package. The first line of each config is the command."
    yield ""
    for folder in sorted(file for file in ADDITIONS.iterdir() if (file / "conf").is_dir()):
        yield f"## {folder.name.replace('_', ' ').capitalize()}"
        yield ""
        for file in sorted([*folder.rglob("*.py"), *folder.rglob("*.yaml")]):
            language = {".py": "python", ".yaml": "yaml"}[file.suffix]
            yield f"`{file.relative_to(folder).as_posix()}`"
            yield ""
            yield f"```{language}\n{file.read_text(encoding='utf-8').strip()}\n```"
            yield ""


def index_page(names: dict[str, list[Config]]) -> Iterator[str]:
    yield "# Reference"
    yield ""
    yield "Every key, with its value and what the config says of it; made from `conf/`."
    yield ""
    yield "| group | values |"
    yield "|-|-|"
    for group, configs in names.items():
        values = ", ".join(f"[{config.value}]({group}.md#{anchor(config.value)})" for config in configs)
        yield f"| [{group}]({group}.md) | {values} |"
    yield ""
    roots = ", ".join(f"[{command}](root_{name}.md)" for name, command in COMMANDS.items())
    yield f"The keys of the commands themselves: {roots}."
    yield ""
    yield "The Python interface:"
    yield ""
    yield from (f"- [{package}](python/{package}.md)" for package in PACKAGES)
    yield ""
    yield "[Additions](additions.md): what outsiders write, in full."


def anchor(heading: str) -> str:
    return re.sub(r"[^\w-]", "", heading).lower()


def pages() -> dict[str, str]:
    """All pages by their paths in the folder."""
    named = groups()
    made = {"index": index_page(named), "additions": additions_page()}
    made |= {group: group_page(group, configs) for group, configs in named.items()}
    made |= {f"root_{name}": root_page(name) for name in COMMANDS}
    made |= {f"python/{package}": interface_page(package) for package in PACKAGES}
    return {f"{name}.md": "\n".join(lines).strip() + "\n" for name, lines in made.items()}


def write(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in pages().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(FOLDER)
