"""The names of signals: which there are, what they stand for, and what is wrong with one that there is not."""

import re
from collections.abc import Iterable, Mapping

from kd_lightning.errors import UserError, did_you_mean

ROLES = ("student", "teacher")
PROGRESS = ("epoch", "fraction")
STRONG = "strong"


def taken_from(role: str, names: Iterable[str]) -> set[str]:
    """The taps of `student` or `teacher` among the names of signals, without the prefix and the view."""
    parts = [name.split(".", 1) for name in names]
    return {tap[0].removeprefix(f"{STRONG}.") for first, *tap in parts if first == role and tap}


def takes_strong_view(names: Iterable[str]) -> bool:
    """Whether a name is of what a network makes of the strongly augmented view, such as `student.strong.logits`."""
    return any(name.startswith(f"{role}.{STRONG}.") for name in names for role in ROLES)


def with_view(name: str, view: str) -> str:
    """`student.logits` of another view: `student.strong.logits`."""
    role, _, tap = name.partition(".")
    return f"{role}.{view}.{tap}"


def check_signal(key: str, signal: str, available: Mapping[str, list[str]]) -> None:
    """UserError for a signal of a role that there is not, or that the role does not give.

    Names without a dot are the batch's own, which its loader decides.
    """
    role, dot, tap = signal.partition(".")
    roles = {**available, "progress": list(PROGRESS)}
    if role in roles:
        if tap.removeprefix(f"{STRONG}.") not in roles[role]:
            raise UserError(_missing(key, signal, role, roles[role]))
    elif dot or signal.startswith("input"):
        hint = did_you_mean(role, roles).replace("?", f".{tap}?") if dot else ""
        raise UserError(
            f"{key}: nobody gives this signal; {hint}there are student.…, teacher.…, progress.…, and what a batch has "
            "besides its input, such as target"
        )


def collective_names(role: str, taps: list[str]) -> dict[str, str | list[str]]:
    """Numbered taps by their plural, as `student.stages` for stage1, stage2, …; and `student.last_stage`."""
    lists: dict[str, list[str]] = {f"{role}.stages": []}
    for tap in taps:
        if match := re.fullmatch(r"(.*\D)\d+", tap):
            lists.setdefault(f"{role}.{match[1]}s", []).append(f"{role}.{tap}")
    stages = lists[f"{role}.stages"]
    return {**lists, **({f"{role}.last_stage": stages[-1]} if stages else {})}


def _missing(key: str, signal: str, role: str, taps: list[str]) -> str:
    if role == "train" and not taps:
        return (
            f"{key}: this loss remembers all training images; give DistillationModule their index and target as "
            "training_set"
        )
    close = did_you_mean(signal.rpartition(".")[2], taps)
    hint = close.replace("did you mean ", f"did you mean {role}.")
    has = f"it has {', '.join(taps)}"
    if role not in ROLES:
        return f"{key}: there is no such signal; {hint}{has}"
    return f"{key}: the {role} has no such tap; {hint}{has} (add more with {role}_taps)"
