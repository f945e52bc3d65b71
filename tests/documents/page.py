"""A page, and the blocks, commands, files, links and headings on it."""

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDER = r"[A-Z]{3}|…|jensen_shannon"  # stands for what the reader has, or is to write
MADE = "reference"  # the folder of docs/ that `make docs` writes


@dataclass(frozen=True)
class Page:
    """A page by its path in the clone."""

    name: str

    @cached_property
    def text(self) -> str:
        return (ROOT / self.name).read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """All but the fenced blocks and the code within lines."""
        return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```", "", self.text, flags=re.DOTALL | re.MULTILINE))

    @cached_property
    def codes(self) -> list[str]:
        """What stands as code within lines."""
        return re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", self.text, flags=re.DOTALL | re.MULTILINE))

    def blocks(self, language: str) -> list[str]:
        """The fenced blocks of a language."""
        return re.findall(rf"^```{language}\n(.*?)^```", self.text, re.DOTALL | re.MULTILINE)

    @cached_property
    def files(self) -> dict[str, str]:
        """What the reader is to write, by the names in the first lines, `# mine.py`; `# @package` goes before."""
        named = {}
        for block in [*self.blocks("python"), *self.blocks("yaml")]:
            if first := re.match(r"(?:# @package \w+\n)?# ([\w/]+\.(?:py|yaml))\n", block):
                named[first[1]] = block
        return named

    @cached_property
    def scripts(self) -> list[str]:
        """Blocks of Python that are no file."""
        return [block for block in self.blocks("python") if block not in self.files.values()]

    @cached_property
    def commands(self) -> list[str]:
        """The lines after `$ ` in consoles, and those of Bash that are no comment."""
        typed = [line[2:] for block in self.blocks("console") for line in block.splitlines() if line[:2] == "$ "]
        lines = [line for block in self.blocks("bash") for line in block.splitlines()]
        return typed + [line for line in lines if line.strip() and not line.startswith("#")]

    @cached_property
    def answers(self) -> dict[str, str]:
        """The line that follows a command in its block."""
        lines = [pair for block in self.blocks("console") for pair in pairwise(block.splitlines())]
        return {line[2:]: answer for line, answer in lines if line[:2] == "$ "}

    def shown(self, command: str) -> list[str]:
        """What a console shows behind a command, down to the next one."""
        for block in self.blocks("console"):
            printed = f"\n{block}".partition(f"\n$ {command}\n")[2]
            if printed:
                return f"\n{printed}".partition("\n$ ")[0].splitlines()[1:]
        return []

    @cached_property
    def refused(self) -> dict[str, str]:
        """Commands that are shown to be bad input, with what they are told."""
        return {line: answer for line, answer in self.answers.items() if answer.startswith("error: ")}

    @cached_property
    def links(self) -> list[str]:
        """Links and images, but for those to other sites."""
        targets = re.findall(r"\]\(([^)\s]+)\)", self.prose)
        return [target for target in targets if not re.match(r"https?://|mailto:", target)]

    @cached_property
    def anchors(self) -> set[str]:
        """What links to a heading may end in, where GitHub and the site agree."""
        headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", self.text, flags=re.DOTALL | re.M), re.MULTILINE)
        return {github(heading) for heading in headings} & {site(heading) for heading in headings}


def github(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def site(heading: str) -> str:
    plain = unicodedata.normalize("NFKD", heading.replace("`", "")).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def pages(folder: Path) -> list[Page]:
    """The README, how to contribute, and the pages below docs/ but those that are made."""
    below = [file for file in sorted((folder / "docs").rglob("*.md")) if MADE not in file.relative_to(folder).parts]
    return [Page(str(file.relative_to(folder))) for file in (folder / "README.md", folder / "CONTRIBUTING.md", *below)]


PAGES = pages(ROOT)
README = PAGES[0]
