"""What `${name:…}` in conf/ calls."""

import itertools
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf

LOSS = "loss"  # the key of terms, and in each of its loss
PAIRS = "pairs"  # the root key of values by TEACHER_STUDENT


def cross_entropy_weight(alpha: float | DictConfig, *, _root_: DictConfig, _parent_: DictConfig) -> float | DictConfig:
    """1-alpha where a soft-target term stands beside the cross-entropy, else 1; of a schedule another one."""
    terms = [
        term for term in (terms_around(_parent_) or _root_.get("loss") or {}).values() if isinstance(term, DictConfig)
    ]
    losses = [loss for term in terms if isinstance(loss := term.get("loss"), DictConfig)]
    soft = [is_soft_target(loss["_target_"]) for loss in losses if "_target_" in loss]
    if not any(soft):
        return 1.0
    if isinstance(alpha, DictConfig):
        return OmegaConf.create({"_target_": "kd_lightning.schedules.OneMinus", "schedule": alpha})
    return 1.0 - alpha


def terms_around(part: DictConfig) -> DictConfig | None:
    """The terms among which a value stands, such as those of `teacher.loss`; None where it stands elsewhere."""
    found: DictConfig | None = None
    node: Any = part
    while isinstance(node, DictConfig):
        if node._key() == LOSS:  # of a term, then that of the terms
            found = node
        node = node._get_parent()
    return found


def is_soft_target(target: str) -> bool:
    """Whether a loss's class says that it matches the teacher's soft targets; a class that is not found does not."""
    try:
        return bool(getattr(get_object(target), "soft_target", False))
    except Exception:  # reported where it is instantiated
        return False


def for_pair(name: str, default: float, *, _root_: DictConfig) -> float:
    """What `pairs` sets by this name for TEACHER_STUDENT, else the default."""
    pair = f"{_root_.teacher.get('model')}_{_root_.student.get('model')}"
    value: float = ((_root_.get(PAIRS) or {}).get(pair) or {}).get(name, default)
    return value


def search_direction(*, _root_: DictConfig) -> str:
    """`minimize` where the task selects what is lowest, else `maximize`; one that cannot be made is told of later."""
    from kd_lightning.config.parts.task import make_task
    from kd_lightning.config.refusals.bad_input import BAD_INPUT

    try:
        return "maximize" if make_task(_root_).selects_on.higher_is_better else "minimize"
    except BAD_INPUT:
        return "maximize"


def times(factor: float, value: Any) -> Any:
    """A number, or each of a list, so many times; what is not above 0, which sets no limit, and null stay."""
    if isinstance(value, (list, ListConfig)):
        return [times(factor, one) for one in value]
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        return value
    product = factor * value
    return round(product) if isinstance(value, int) else product


def register_resolvers() -> None:
    OmegaConf.register_new_resolver("cross_entropy_weight", cross_entropy_weight, replace=True)
    OmegaConf.register_new_resolver("for_pair", for_pair, replace=True)
    OmegaConf.register_new_resolver("search_direction", search_direction, replace=True)
    OmegaConf.register_new_resolver("times", times, replace=True)
    OmegaConf.register_new_resolver("new_folder", new_folder, replace=True, use_cache=True)


def new_folder(path: str) -> str:
    """Make a folder that was not there: `path`, or with -2, -3, … behind it for runs that begin in the same second."""
    for number in itertools.count(1):
        folder = path if number == 1 else f"{path}-{number}"
        try:
            Path(folder).mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError
