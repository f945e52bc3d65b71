"""Whether a run's curricula can be made, and serve the run."""

from omegaconf import DictConfig

from kd_lightning.config.checks.arguments import check_arguments
from kd_lightning.config.parts.objects import curriculum_from
from kd_lightning.config.parts.recipe import CURRICULUM, OWN_PARTS, own_curriculum
from kd_lightning.curricula import Curriculum
from kd_lightning.curricula.curriculum import assesses
from kd_lightning.data import DataModule
from kd_lightning.errors import UserError
from kd_lightning.signals import requested
from kd_lightning.teachers import Teacher


def check_curriculum(config: DictConfig, teacher: Teacher) -> None:
    """The curriculum can be made, has whom it asks, and nobody asks what it cannot know. Raises UserError."""
    curriculum = curriculum_from(config.curriculum)
    made = None if curriculum is None else curriculum()
    if made is None:
        return
    check_asked(made, CURRICULUM, None if teacher.exists else "with teacher=none there is no teacher")
    if made.learns and config.teacher.get("cache") == "prefill":
        raise UserError(
            f"teacher.cache=prefill: asks the teacher beforehand, and what {type(made).__name__} draws depends on what "
            "it sees of the training; use teacher.cache=logits, or curriculum=null"
        )
    check_begins_shuffled(made, CURRICULUM, config)


def check_own_curriculum(owner: str, config: DictConfig) -> None:
    """The same of what a network by itself sees, which has no teacher. Raises UserError."""
    given, key = own_curriculum(owner, config), f"{owner}.{CURRICULUM}"
    check_arguments(given, key)
    curriculum = curriculum_from(given, key)
    if curriculum is not None:
        made = curriculum()
        check_asked(made, key, "the student alone has no teacher")
        check_begins_shuffled(made, key, config)


def check_asked(made: Curriculum, key: str, without_teacher: str | None) -> None:
    """What a curriculum takes of the teacher is there, or raise UserError, which says why there is none."""
    taken = sorted({*made.asks, *made.observes})
    if without_teacher is not None and requested(Teacher.role, taken):
        raise UserError(
            f"{key}={type(made).__name__}: takes {', '.join(taken)}, and {without_teacher}; choose what the student "
            "tells, such as the difficulty student_loss"
        )


def check_begins_shuffled(made: Curriculum, key: str, config: DictConfig) -> None:
    """No learning rate is looked for by batches that a curriculum decides later. Raises UserError."""
    if "lr_finder" in (config.callbacks or {}):
        raise UserError(
            f"callbacks.lr_finder: tries the first batches, and {type(made).__name__} decides later which these are; "
            f"give optimizer.lr, or {key}=null"
        )


def check_assessed(config: DictConfig, data: DataModule) -> None:
    """What assesses has validation data, which are not the test set. Raises UserError."""
    own = {f"{owner}.{CURRICULUM}": own_curriculum(owner, config) for owner in OWN_PARTS}
    for key, given in {CURRICULUM: config.curriculum, **own}.items():
        curriculum = curriculum_from(given, key)
        if curriculum is None or data.validates_on == "validation" or not assesses(made := curriculum()):
            continue
        if data.validates_on == "test":
            raise UserError(
                f"data.val_fraction=0: {type(made).__name__} would decide by the test set what is taught; set "
                f"data.val_fraction above 0, or {key}=null"
            )
        raise UserError(
            f"{key}={type(made).__name__}: assesses the student on validation data, and {data.name} has no "
            f"val_dataloader; give it one, or {key}=null"
        )
