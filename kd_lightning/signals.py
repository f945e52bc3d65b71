"""Which signals there are, and whether the objective's terms get theirs."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.objective import Objective, did_you_mean
from kd_lightning.taps import FOUND, check_taps, find_inner_taps, find_taps, taps_of

ROLES = ("student", "teacher")
PROGRESS = ("epoch", "fraction")
STRONG = "strong"


def taken_from(role: str, objective: Objective) -> set[str]:
    """The taps that the objective takes of `student` or `teacher`, without the prefix and the view."""
    parts = [name.split(".", 1) for name in objective.names()]
    return {tap[0].removeprefix(f"{STRONG}.") for first, *tap in parts if first == role and tap}


def takes_strong_view(objective: Objective) -> bool:
    """Whether a term takes what a network makes of the strongly augmented view, such as `student.strong.logits`."""
    return any(name.startswith(f"{role}.{STRONG}.") for name in objective.names() for role in ROLES)


def with_view(name: str, view: str) -> str:
    """`student.logits` of another view: `student.strong.logits`."""
    role, _, tap = name.partition(".")
    return f"{role}.{view}.{tap}"


def resolve_taps(
    role: str,
    network: nn.Module,
    taps: Mapping[str, str] | str,
    objective: Objective,
    example_input: Tensor | None,
    num_classes: int | None = None,
) -> dict[str, str]:
    """Names and addresses of a network's taps; found with `example_input` only where a term takes more than logits."""
    if taps != "auto" and not isinstance(taps, Mapping):
        raise UserError(f"{role}_taps={taps}: give auto, or a mapping such as {{'stage3': 'layer3.2'}}")
    taken, given = taken_from(role, objective), {} if isinstance(taps, str) else dict(taps)
    with taps_of(role):
        check_taps(network, given)
    if taken <= {"logits", *given} or (given and example_input is None):
        return {"logits": "", **given}
    if example_input is None:
        raise UserError(
            f"{role}_taps=auto: to find {', '.join(sorted(taken - {'logits'}))}, give DistillationModule an "
            "example_input, or name the taps' modules"
        )
    with taps_of(role):
        found = find_all(network, example_input, taken - set(given), given.get("logits", ""), num_classes)
    return {**found, **given}


def find_all(
    network: nn.Module, example: Tensor, taken: set[str] | None, logits: str = "", num_classes: int | None = None
) -> dict[str, str]:
    """The taps that `auto` finds; those inside the stages only where one of them is taken, or all are (None)."""
    takes_inner = taken is None or not all(FOUND.fullmatch(tap) for tap in taken)
    inner = find_inner_taps(network, example, logits, num_classes) if takes_inner else {}
    return {**find_taps(network, example, logits, num_classes), **inner}


def connect(
    objective: Objective, student: Iterable[str], teacher: Iterable[str] | None, training_set: Iterable[str] = ()
) -> None:
    """Expand `student.stages` and its like in the terms, and see that each signal they take exists."""
    available = {"student": list(student), "teacher": list(teacher or []), "train": list(training_set)}
    names = {name: taps for role in ROLES for name, taps in _collective_names(role, available[role]).items()}
    for name, term in objective.items():
        if teacher is None and any(signal.startswith("teacher.") for signal in term.names()):
            raise UserError(f"terms.{name}: this term needs a teacher; give one, or leave the term out")
        term.expand(names)
        _check_lists(name, [signals for signals in term.signals if isinstance(signals, list)])
        for signal in term.names():
            check_signal(f"terms.{name}.signals={signal}", signal, available)


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


def _collective_names(role: str, taps: list[str]) -> dict[str, str | list[str]]:
    """Numbered taps by their plural, as `student.stages` for stage1, stage2, …; and `student.last_stage`."""
    lists: dict[str, list[str]] = {f"{role}.stages": []}
    for tap in taps:
        if match := re.fullmatch(r"(.*\D)\d+", tap):
            lists.setdefault(f"{role}.{match[1]}s", []).append(f"{role}.{tap}")
    stages = lists[f"{role}.stages"]
    return {**lists, **({f"{role}.last_stage": stages[-1]} if stages else {})}


def _check_lists(name: str, lists: list[list[str]]) -> None:
    if lists and (len({len(signals) for signals in lists}) > 1 or not lists[0]):
        layers = " and ".join(f"[{', '.join(signals)}]" for signals in lists)
        raise UserError(f"terms.{name}.signals={layers}: lists of equal length are needed; name the layers to pair")


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
