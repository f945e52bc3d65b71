"""Several students of one run: the config of each as it would be that of a run with this student alone."""

import copy
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from kd_lightning.config.conf import TARGET, plain
from kd_lightning.config.parts.recipe import PARTS, laid_over
from kd_lightning.config.refusals.bad_input import one_line
from kd_lightning.errors import UserError

STUDENT, MODEL, MODELS, KEY = "student", "model", "models", "key"


def students_in(config: DictConfig) -> list[DictConfig]:
    """The config as each of its students alone has it; itself where there is one.

    What an entry of `student.models` leaves out is that of `student`; what refers to the student, such as the values of
    a pair of networks, is each one's own.
    """
    return [config] if not has_several(config) else [alone(place, config) for place in range(len(entries(config)))]


def has_several(config: DictConfig) -> bool:
    """Whether a run has several students."""
    student = config[STUDENT]
    return isinstance(student, DictConfig) and student.get(MODELS) is not None


def entries(config: DictConfig) -> list[DictConfig]:
    """What `student.models` says of each, as keys of `student`; a model by itself is its `model`."""
    each: list[Any] = list(config[STUDENT][MODELS])
    return [one if is_described(one) else OmegaConf.create({MODEL: one}) for one in each]


def is_described(entry: Any) -> bool:
    """Whether an entry of `student.models` is of keys of `student`, and no model by itself."""
    return isinstance(entry, Mapping | DictConfig) and TARGET not in entry


def alone(place: int, config: DictConfig) -> DictConfig:
    """The config as the student at a place alone has it."""
    own = copy.deepcopy(config)
    entry, student = entries(own)[place], own[STUDENT]
    with open_dict(student):
        for name, value in entry.items():
            is_part = name in PARTS and isinstance(value, DictConfig)
            student[name] = laid_over(plain(student.get(name)), plain(value)) if is_part else value
        student[MODELS], student[KEY] = None, key_of(place, config)
    return own


def key_of(place: int, config: DictConfig) -> str:
    """Where the model of a student stands in the config."""
    entry = config[STUDENT][MODELS][place]
    if not is_described(entry):
        return f"{STUDENT}.{MODELS}.{place}"
    return f"{STUDENT}.{MODELS}.{place}.{MODEL}" if MODEL in entry else f"{STUDENT}.{MODEL}"


@contextmanager
def naming(place: int, config: DictConfig) -> Iterator[None]:
    """Within, a `UserError` of what is wrong with a student tells the key where that is given."""
    try:
        yield
    except UserError as error:
        if not has_several(config):
            raise
        names = [str(name) for name in entries(config)[place]]
        given = {name: f"{STUDENT}.{MODELS}.{place}.{name}" for name in names}
        message = one_line(error)
        for name, key in {**given, MODEL: key_of(place, config)}.items():
            message = re.sub(rf"(?<![\w.]){STUDENT}\.{name}\b", key, message)
        raise UserError(message) from error
