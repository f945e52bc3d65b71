"""Keys that are given on a command line and would change nothing: they are refused.

These are root keys that no term of the loss takes, the recipe of a network that is not trained by itself, and the model
of one student beside several.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.config.checks.groups import is_described
from kd_lightning.config.conf import conf_dir, plain
from kd_lightning.config.parts.described import student_of, teacher_of, trained_alone
from kd_lightning.config.parts.recipe import ALONE, OWN_PARTS, has_scratch, own_values
from kd_lightning.config.parts.students import MODEL, MODELS, STUDENT, entries, has_several
from kd_lightning.config.refusals.bad_input import BAD_INPUT
from kd_lightning.errors import UserError
from kd_lightning.teachers import NoTeacher

KEYS = ("temperature", "alpha")  # of the soft targets; a method may have its own instead
MODEL_KEY = f"{STUDENT}.{MODEL}"
PLACES = ("paths", "logger", *KEYS)
TEACHER_MODEL = "teacher.model="
TRIED = (0.25, 0.75)  # two values that either may have


def given(overrides: Sequence[str]) -> dict[str, str]:
    """Those of the keys that a command line gives, each with its override as it was typed."""
    keys = {override.partition("=")[0].lstrip("+"): override for override in overrides}
    typed = {key: keys[key] for key in KEYS if key in keys}
    own = {key: override for key, override in keys.items() if is_own(key) or key == MODEL_KEY}
    return typed | {key: override for key, override in own.items() if not override.endswith("=null")}


def is_own(key: str) -> bool:
    """Whether a key is of the recipe of a network that is trained by itself."""
    owner, _, rest = key.partition(".")
    return "loss" in OWN_PARTS.get(owner, ()) and rest.partition(".")[0] in OWN_PARTS[owner]


def refuse_unused(config: DictConfig, overrides: Sequence[str]) -> None:
    """Raise `UserError` for a key that the command line of a single run gives and that nothing takes."""
    for key, override in given(overrides).items():
        if not is_taken(key, config):
            raise unused(key, override, config)


def unused(key: str, override: str, config: DictConfig) -> UserError:
    if key == MODEL_KEY:
        return UserError(f"{override}: each of {STUDENT}.{MODELS} names its own model; leave one of the two out")
    if not is_own(key):
        return UserError(f"{override}: no term of the loss takes the run's {key}; {remedy(key, config)}")
    if key.startswith(f"{ALONE}."):
        reason = "where it learns from labels alone" if has_scratch(config) else f"with {ALONE}=false"
        return UserError(f"{override}: the student is not trained alone {reason}; leave it out")
    weights = plain(config.teacher.get("weights"))
    return UserError(
        f"{override}: no teacher is trained with teacher.weights={'null' if weights is None else weights}; leave it "
        "out, or give teacher.weights=train, or teacher.finetune=whole"
    )


def set_for_nothing(config: DictConfig, overrides: Sequence[str]) -> str | None:
    """A line on a key that a user's own config sets, to another value than the default, and that nothing takes.

    Or on a network that a command line names as the teacher where there is none, by teacher=none or a method.
    """
    named = [one for one in overrides if one.lstrip("+").startswith(TEACHER_MODEL) and not one.endswith("=null")]
    if named and str(config.teacher.get("_target_")).endswith(f".{NoTeacher.__name__}"):
        return f"{named[-1]} has no effect: there is no teacher, as teacher=none or the method says"
    usual: Any = OmegaConf.load(conf_dir() / "train.yaml")
    for key in KEYS:
        if key not in given(overrides) and config.get(key) != usual[key] and not is_taken(key, config):
            return f"{key}={config[key]}, as a config sets it, has no effect: no term of the loss takes the run's {key}"
    return None


def is_taken(key: str, config: DictConfig) -> bool:
    """Whether anything but places and names changes with the key."""
    if key == MODEL_KEY:
        return not has_several(config) or any(MODEL not in entry for entry in entries(config))
    if is_own(key):
        return is_trained(key.partition(".")[0], config)
    try:
        one, other = (with_value(key, value, config) for value in TRIED)
    except OmegaConfBaseException:  # told of where the config is checked
        return True
    return one != other


def is_trained(owner: str, config: DictConfig) -> bool:
    """Whether a network with a recipe below this key is trained by itself, or a user's own class may take it."""
    if not is_described(own_values(owner, config)):
        return True
    try:
        student, teacher = student_of(config), teacher_of(config)
    except BAD_INPUT:  # told of where the config is checked
        return True
    return owner in {network.alone for network in trained_alone(config, student, teacher)}


def with_value(key: str, value: float, config: DictConfig) -> dict[Any, Any]:
    changed = copy.deepcopy(config)
    OmegaConf.update(changed, key, value, force_add=True)
    values = OmegaConf.to_container(changed, resolve=True)
    assert isinstance(values, dict)
    return {name: part for name, part in values.items() if name not in PLACES}


def remedy(key: str, config: DictConfig) -> str:
    """What to set instead: what the terms have of the same name, and instead of alpha the terms' weights."""
    found = [path for group in ("loss", "initialization.loss") for path in own_keys(key, group, config)]
    if not found:
        return "leave it out"
    listed = f"{', '.join(found[:-1])} or {found[-1]}" if len(found) > 1 else found[0]
    return f"set {listed} instead"


def own_keys(key: str, group: str, config: DictConfig) -> Iterator[str]:
    """The dotted keys of a group of terms that stand for a root key."""
    terms = OmegaConf.select(config, group, default=None)
    values: Any = OmegaConf.to_container(terms, resolve=False) if OmegaConf.is_config(terms) else None
    for name, term in (values or {}).items():
        if not isinstance(term, dict):
            continue
        if key == "alpha":
            yield f"{group}.{name}.weight" + (".value" if isinstance(term.get("weight"), dict) else "")
        yield from paths_to(key, term.get("loss"), f"{group}.{name}.loss")


def paths_to(key: str, values: Any, prefix: str) -> Iterator[str]:
    """The dotted keys below a loss that end with the name of a root key, or its plural."""
    for name, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, dict):
            yield from paths_to(key, value, f"{prefix}.{name}")
        elif str(name).endswith((key, f"{key}s")):
            yield f"{prefix}.{name}"
