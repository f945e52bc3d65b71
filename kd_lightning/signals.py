"""Which signals there are, and whether the objective's terms get theirs."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.objective import Objective
from kd_lightning.taps import find_taps


def taken_from(role: str, objective: Objective) -> set[str]:
    """The taps that the objective takes of `student` or `teacher`, without the prefix."""
    return {name.removeprefix(f"{role}.") for name in objective.names() if name.startswith(f"{role}.")}


def resolve_taps(
    role: str, network: nn.Module, taps: Mapping[str, str] | str, objective: Objective, example_input: Tensor | None
) -> dict[str, str]:
    """Names and addresses of a network's taps; found with `example_input` only where a term takes more than logits."""
    taken, given = taken_from(role, objective), {} if isinstance(taps, str) else dict(taps)
    if taken <= {"logits", *given} or (given and example_input is None):
        return {"logits": "", **given}
    if example_input is None:
        raise UserError(
            f"{role}_taps=auto: to find {', '.join(sorted(taken - {'logits'}))}, give DistillationModule an "
            "example_input, or name the taps' modules"
        )
    return {**find_taps(network, example_input), **given}


def connect(objective: Objective, student: Iterable[str], teacher: Iterable[str] | None) -> None:
    """Expand `student.stages` and `teacher.stages` in the terms, and see that each signal they take exists."""
    available = {"student": list(student), "teacher": list(teacher or [])}
    stages = {
        f"{role}.stages": [f"{role}.{tap}" for tap in taps if tap.startswith("stage")]
        for role, taps in available.items()
    }
    for name, term in objective.items():
        if teacher is None and any(signal.startswith("teacher.") for signal in term.names()):
            raise UserError(f"loss={name}: this term needs a teacher; choose one, or loss=ce with teacher=none")
        term.expand(stages)
        _check_lists(name, [signals for signals in term.signals if isinstance(signals, list)])
        for signal in term.names():
            role, _, tap = signal.partition(".")
            if role in available and tap not in available[role]:
                raise UserError(_missing(f"loss.{name}.signals", signal, role, available[role]))


def _check_lists(name: str, lists: list[list[str]]) -> None:
    if lists and (len({len(signals) for signals in lists}) > 1 or not lists[0]):
        layers = " and ".join(f"[{', '.join(signals)}]" for signals in lists)
        raise UserError(f"loss.{name}.signals={layers}: lists of equal length are needed; name the layers to pair")


def _missing(key: str, signal: str, role: str, taps: list[str]) -> str:
    close = get_close_matches(signal.partition(".")[2], taps, n=1)
    hint = f"did you mean {role}.{close[0]}? " if close else ""
    return f"{key}={signal}: the {role} has no such tap; {hint}it has {', '.join(taps)} (add more with {role}.taps)"
