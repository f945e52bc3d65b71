"""A student that learns stage by stage, and at last as a whole."""

import re
from collections.abc import Iterable, Mapping
from string import digits as DIGITS
from typing import Any, Literal

from kd_lightning.errors import UserError
from kd_lightning.losses import FitNet
from kd_lightning.models.projectors import Connector
from kd_lightning.objective import Objective, naming
from kd_lightning.plans.distillation import Distillation
from kd_lightning.plans.plan import Parts, Steps
from kd_lightning.signals import DETACHED, expanded, read, taps_of_source
from kd_lightning.term import Term
from kd_lightning.training.context import Terms
from kd_lightning.training.finetuning.unfreezing import HEAD
from kd_lightning.training.steps import Trained, Training

NUMBERED = re.compile(r".*\D(\d+)")
STUDENT, TEACHER = "student", "teacher"


class Stages:
    """The student's first stage learns from the teacher's first, then the second from the second, …, then the logits.

    Each stage has a training of its own with the recipe's schedule, as in stagewise distillation (Kulkarni et al. 2019,
    arXiv:1911.06786) and FitNets (Romero et al. 2015, arXiv:1412.6550); these are kept for all runs. The terms of the
    loss that take numbered stages are taken apart by stage; where it has none, the plan's own `term` is taken for each.
    The last training is on all other terms. See conf/plan/stages.yaml for what the arguments are.

    Raises UserError where no term can be of a stage, and where the two networks do not have the same stages.

    Examples:
        >>> from kd_lightning import Term
        >>> from kd_lightning.losses import AttentionTransfer
        >>> from kd_lightning.plans.stages import of_stages
        >>> stages = [[f"{network}.stage1", f"{network}.stage2"] for network in ("student", "teacher")]
        >>> term = Term(AttentionTransfer(), stages)
        >>> {stage: one.signals for stage, one in of_stages(term).items()}
        {1: [['student.stage1'], ['teacher.stage1']], 2: [['student.stage2'], ['teacher.stage2']]}
    """

    name = "stages"
    networks = Distillation.networks

    def __init__(
        self,
        term: Term | None = None,
        epochs: int | None = None,
        alone: bool = True,
        end: Literal["whole", "head"] = "whole",
    ) -> None:
        self.term = Term(FitNet(), ["student.stage", "teacher.stage"], projector=Connector) if term is None else term
        self.epochs, self.alone, self.end = epochs, alone, end

    def check(self, parts: Parts) -> None:
        """Raise UserError for what does not go together, before anything is downloaded or trained."""
        check_epochs(self.epochs)
        check_parts(parts, self.name)
        parts.check_plain(self.name)
        scheduler = parts.recipe.scheduler
        watched = str((scheduler.settings or {}).get("monitor") or "") if scheduler is not None else ""
        if watched.startswith("val/"):
            raise UserError(
                f"scheduler.monitor={watched}: plan=stages validates the last training alone; watch train/loss, or use "
                "scheduler=cosine"
            )
        if not isinstance(self.alone, bool):
            raise UserError(f"plan.alone={self.alone}: must be true or false")
        if not isinstance(self.term, Term):
            raise UserError(f"plan.term={self.term}: must be a term, as in conf/loss/fitnet.yaml")
        by_stage, _ = self.terms(parts)
        if self.alone:
            self.check_places(parts, by_stage)
        for stage, terms in by_stage.items():
            Objective(terms, f"plan: stage {stage}").connect(taps_of(parts, terms))

    def steps(self, parts: Parts) -> Steps:
        teacher = yield parts.teacher
        if parts.compares:
            yield parts.student_alone()
        by_stage, others = self.terms(parts)
        before: Trained | None = None
        learned = 0
        for stage, terms in by_stage.items():
            training = self.training(stage, terms, parts, teacher, before)
            trained = yield training._replace(finetune=[*range(learned, stage)] if self.alone else None)
            learned = stage
            before = trained._replace(terms_state={})  # a projector of one stage is of no use to the next
        last = parts.distilled("student", parts.student, teacher, title="distilled student", starts_from=before)
        learner = last.first._replace(terms=lambda: others)
        yield last._replace(learners={"student": learner}, finetune=HEAD if self.end == HEAD else None)

    def check_places(self, parts: Parts, by_stage: Mapping[int, Terms]) -> None:
        """Raise UserError for numbers that are not those of the student's stages, whose modules alone would learn."""
        data, width = parts.context.data, parts.context.task.width
        adapt = parts.student.adapted_to_one_like(lambda example: parts.teacher.like(data, example))
        taps = parts.student.seen(data, width, {"stages"}, adapt).taps
        stages = sum(is_stage(tap) for tap in taps)
        given = numbers_of(parts.student.given_taps())
        for stage, terms in by_stage.items():
            for name, term in terms.items():
                first = term.signals[0]
                for signal in [first] if isinstance(first, str) else first:
                    found = read(signal)
                    family = tap_of(signal).rstrip(DIGITS)
                    is_given = found is not None and found.source == STUDENT and family in given
                    if stage > stages or (is_given and numbers_of(taps)[family] != {*range(1, stages + 1)}):
                        key = "plan.term" if name == "stage" else f"loss.{name}"
                        raise UserError(
                            f"{key}: takes {signal}, whose number would be that of a stage, and the student has "
                            f"{stages}; take those, student.stage1, …, name the tap without a number at its end, or "
                            "use plan.alone=false"
                        )

    def training(self, stage: int, terms: Terms, parts: Parts, teacher: Trained, before: Trained | None) -> Training:
        """The training of one stage, which goes on with the network as the stages before left it."""
        title = f"stage {stage}"
        own = parts.distilled(
            f"stage{stage}", parts.student, teacher.uncached(), title=title, starts_from=before, is_kept=True
        )
        (learner,) = own.learners.values()
        return own._replace(
            learners={own.name: learner._replace(terms=lambda: terms)},
            recipe=own.recipe.lasting(self.epochs).unvalidated(),
            curriculum=None,
            is_compared=False,
        )

    def terms(self, parts: Parts) -> tuple[dict[int, dict[str, Term]], dict[str, Term]]:
        """The terms of each stage, in order, and those that are of none. Raises UserError where either is empty."""
        given = dict(parts.terms())
        found = split(given, taps_of(parts, given))
        others = {name: term for name, term in given.items() if not any(name in each for each in found.values())}
        if not found:
            own = {"stage": self.term}
            found = split(own, taps_of(parts, own), "plan.term")
        if not found:
            raise UserError(
                f"plan.term: takes {', '.join(self.term.names())}, which are of no stage; take student.stage and "
                "teacher.stage"
            )
        if not others:
            raise UserError(
                f"loss=[{','.join(given)}]: all of it is of stages, and plan=stages ends with the logits; add ce or kd"
            )
        return dict(sorted(found.items())), others


def split(terms: Terms, taps: Mapping[str, list[str]], key: str = "loss") -> dict[int, dict[str, Term]]:
    """Terms by stage, as far as they take some; `taps` are those of the networks. Raises UserError."""
    found: dict[int, dict[str, Term]] = {}
    for name, term in terms.items():
        whole = term.unbuilt()
        whole.expand({signal: expanded(signal, taps) for signal in term.names()})
        with naming(key if name == "stage" else f"{key}.{name}"):
            by_stage = of_each(whole, taps) if any(is_each(signal) for signal in whole.names()) else of_stages(whole)
        for stage, own in by_stage.items():
            found.setdefault(stage, {})[name] = own
    return found


def is_each(signal: str) -> bool:
    """Whether a name stands for whichever stage it is that learns."""
    return tap_of(signal) == "stage"


def of_each(term: Term, taps: Mapping[str, list[str]]) -> dict[int, Term]:
    """A term for each of the stages, which both networks have. Raises UserError where they do not."""
    counts = {source: sum(is_stage(tap) for tap in each) for source, each in taps.items()}
    check_counts(list(counts.values()))
    found: dict[int, Term] = {}
    for number in range(1, counts[STUDENT] + 1):
        found[number] = term.unbuilt()
        named = {name: read(name) for name in term.names() if is_each(name)}
        found[number].expand(
            {name: str(one._replace(tap=f"stage{number}")) for name, one in named.items() if one is not None}
        )
    return found


def is_stage(tap: str) -> bool:
    return tap.removeprefix("stage").isdigit()


def check_counts(counts: list[int]) -> None:
    """Raise UserError where student and teacher do not have the same number of stages, or none."""
    if len({*counts}) > 1 or not all(counts):
        told = " and ".join(str(count) for count in counts)
        raise UserError(
            f"takes a stage of each network, and they have {told}; name the same stages in student.taps and "
            "teacher.taps, or pairs of them in a term's signals"
        )


def of_stages(term: Term) -> dict[int, Term]:
    """A term by the numbers of the stages that its first signal takes; none for one of no stage.

    Of lists each stage has its own entries.
    """
    first = term.signals[0]
    if isinstance(first, str):
        number = number_of(first)
        return {} if number is None else {number: term}
    places: dict[int, list[int]] = {}
    for place, signal in enumerate(first):
        number = number_of(signal)
        if number is None:
            return {}
        places.setdefault(number, []).append(place)
    return {number: restricted(term, of_stage) for number, of_stage in places.items()}


def restricted(term: Term, places: list[int]) -> Term:
    """A term that takes only these entries of its lists. Raises UserError for lists of different lengths."""
    check_counts([len(signals) for signals in term.signals if isinstance(signals, list)])
    one = term.unbuilt()
    one.signals = [
        [signals[place] for place in places] if isinstance(signals, list) else signals for signals in term.signals
    ]
    return one


def number_of(signal: str) -> int | None:
    """The number of the stage that a signal is of; None for one of no stage."""
    match = NUMBERED.fullmatch(tap_of(signal))
    return None if match is None else int(match[1])


def tap_of(signal: str) -> str:
    """The tap that a signal is of; empty where it is of none."""
    found = read(signal)
    return "" if found is None else found.tap.removesuffix(DETACHED)


def numbers_of(taps: Iterable[str]) -> dict[str, set[int]]:
    """The numbers at the ends of taps, by what stands before them."""
    found: dict[str, set[int]] = {}
    for match in filter(None, map(NUMBERED.fullmatch, taps)):
        found.setdefault(match[0].rstrip(DIGITS), set()).add(int(match[1]))
    return found


def taps_of(parts: Parts, terms: Terms) -> dict[str, list[str]]:
    """The taps of student and teacher by what terms call the two, as far as these take them. Raises UserError."""
    names = [name for term in terms.values() for name in term.names()]
    data, width = parts.context.data, parts.context.task.width
    adapt = parts.student.adapted_to_one_like(lambda example: parts.teacher.like(data, example))
    found = {STUDENT: [*parts.student.seen(data, width, taps_of_source(STUDENT, names), adapt).taps], TEACHER: []}
    for prefix, network in parts.teacher.networks().items():
        taken = {tap.removeprefix(prefix) for tap in taps_of_source(TEACHER, names)}
        found[TEACHER] += [f"{prefix}{tap}" for tap in network.seen(data, width, taken).taps]
    return {source: list(dict.fromkeys([*taps, "logits"])) for source, taps in found.items()}


def check_epochs(epochs: Any) -> None:
    """Raise UserError unless it is a length of a training, or null."""
    if epochs is not None and (isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1):
        raise UserError(
            f"plan.epochs={epochs}: must be a whole number, 1 or more; or null, as the run's trainer has it"
        )


def check_parts(parts: Parts, plan: str) -> None:
    """Raise UserError for parts of an experiment that do not go with a plan of features."""
    if not parts.teacher.exists or not parts.teacher.networks():
        what = parts.teacher.name or "none"
        raise UserError(
            f"plan={plan}: learns from the stages of a network, and the teacher is {what}; give teacher.model"
        )


__all__ = ["Stages"]
