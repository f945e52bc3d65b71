"""What is about to be run, as a tree of few lines."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text
from rich.tree import Tree

OF_THE_TRAINER = ("max_epochs", "max_steps", "accelerator", "devices", "strategy", "precision", "gradient_clip_val")
USUAL = (None, "auto", -1)  # values that tell nothing
# Classes of the config itself, whose names tell nothing beside their keys.
DESCRIBED = ("kd_lightning.networks.", "kd_lightning.teachers.", "kd_lightning.plans.")


def config_tree(config: Mapping[str, Any], title: str, groups: Sequence[str]) -> Tree:
    """A line for each of these groups of a config in plain values, and one for each term of the loss."""
    width = max(map(len, groups)) + 2
    values = dict(config)
    values["trainer"] = {name: values["trainer"].get(name) for name in OF_THE_TRAINER}
    tree = Tree(Text(title, style="bold"), guide_style="dim")
    for group in groups:
        part = values.get(group)
        if part and group == "loss":
            branch = tree.add(Text(group, style="bold"))
            for name, term in part.items():
                if term:
                    branch.add(_line(name, _term(term), width - 4))
        elif isinstance(part, Mapping) and (told := call(part)):
            tree.add(_line(group, told, width))
    return tree


def _line(name: str, text: str, width: int) -> Text:
    return Text.assemble((name.ljust(width), "bold"), text, overflow="fold")


def _term(term: Mapping[str, Any]) -> str:
    """Its loss, its weight, what each sample counts, and its stream."""
    sample_weight, stream = term.get("sample_weight"), term.get("stream")
    told = [call(term["loss"]), _weight(term.get("weight", 1.0))]
    told += [f"samples by {call(sample_weight)}"] if sample_weight else []
    return ", ".join([*told, *([f"stream {stream}"] if stream else [])])


def _weight(weight: Any) -> str:
    return f"weight {weight:g}" if isinstance(weight, (int, float)) else f"weight {call(weight)}"


def call(part: Any) -> str:
    """A part of the config on one line: its class, or its model, and the values that are set."""
    if isinstance(part, list):
        return f"[{', '.join(map(call, part))}]"
    if not isinstance(part, Mapping):
        return str(part)
    target = str(part.get("_target_", ""))
    name = "" if target.startswith(DESCRIBED) else target.rsplit(".", 1)[-1]
    arguments = [
        f"{key}={{{call(value)}}}" if isinstance(value, Mapping) and "_target_" not in value else f"{key}={call(value)}"
        for key, value in part.items()
        if not key.startswith("_") and value not in USUAL and key != "seed"
    ]
    return f"{name}({', '.join(arguments)})" if name else ", ".join(arguments)
