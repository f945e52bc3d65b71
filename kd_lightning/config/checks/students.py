"""Whether `student.models` names students, as far as its values alone tell."""

from typing import Any

from omegaconf import DictConfig, ListConfig

from kd_lightning.config.conf import TARGET
from kd_lightning.config.packaged import packaged
from kd_lightning.config.parts.students import MODEL, MODELS, STUDENT, has_several, is_described
from kd_lightning.errors import UserError, did_you_mean

OF_ALL = "trainer"  # which one fit has


def check_students(config: DictConfig) -> None:
    """Two students or more, each a model or a mapping of keys of `student`. Raises UserError."""
    if not has_several(config):
        return
    key, given = f"{STUDENT}.{MODELS}", config[STUDENT][MODELS]
    if not isinstance(given, ListConfig):
        raise UserError(f"{key}={given}: must be a list, such as [resnet8x4,ShuffleV1], or null")
    if len(given) < 2:
        one = given[0] if given and isinstance(given[0], str) else "NAME"
        told = f"[{one if given else ''}]"
        raise UserError(f"{key}={told}: several students are two or more; give {STUDENT}.{MODEL}={one} for one")
    for place, entry in enumerate(given):
        check_entry(f"{key}.{place}", entry)


def check_entry(key: str, entry: Any) -> None:
    """One of them. Raises UserError."""
    if not is_described(entry):
        if not isinstance(entry, str | DictConfig) or not entry:
            raise UserError(
                f"{key}={'null' if entry is None else entry}: must be a model's name, such as resnet8x4, or a mapping "
                f"of keys of {STUDENT}, such as {{{MODEL}: resnet8x4, weights: pretrained}}"
            )
        return
    known = [name for name in packaged(f"{STUDENT}/default") if name not in (TARGET, MODELS, OF_ALL)]
    for name, value in entry.items():
        if name in (OF_ALL, MODELS):
            raise UserError(
                f"{key}.{name}={value}: all students learn in one fit; give {STUDENT}.{OF_ALL}, which is that of all"
            )
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise UserError(f"{key}.{name}={value}: nothing reads this key; {hint}there are {', '.join(known)}")
