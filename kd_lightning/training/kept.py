"""Networks trained once, ever: kept under a key of everything that shaped them."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch import nn

from kd_lightning.batch import STRONG
from kd_lightning.conversions.entries import in_key
from kd_lightning.data import DataModule
from kd_lightning.errors import NonFinite, UserError
from kd_lightning.models import save_weights
from kd_lightning.module import DistillationModule
from kd_lightning.networks import Student
from kd_lightning.objective import names_in
from kd_lightning.part import Part
from kd_lightning.ranks import all_ranks_agree
from kd_lightning.runs.arrays import sound_arrays, write_arrays
from kd_lightning.runs.files import CHECKPOINTS, EVALUATION, checkpoint
from kd_lightning.signals import read as read_signal
from kd_lightning.signals import views_in
from kd_lightning.store import CannotKeep, Store, key_of
from kd_lightning.system.checksums import safetensors_fault
from kd_lightning.system.files import write_json
from kd_lightning.system.records import NONE, NUMBER, Each, damaged, sound_record
from kd_lightning.term import Term
from kd_lightning.terminal import is_first_rank, say, warn
from kd_lightning.tracking.outcome import outcome_alone
from kd_lightning.tracking.results import log_results
from kd_lightning.tracking.wandb.logger import one_wandb_run
from kd_lightning.training.context import Context, Recipe, Terms
from kd_lightning.training.finetuning.unfreezing import unfreezing
from kd_lightning.training.fit import Fit, fit
from kd_lightning.training.keys import callbacks_shape, data_key, measured_by, of_source, told, trainer_shape
from kd_lightning.training.measuring import (
    Metrics,
    TestedNetwork,
    holds_all,
    is_sound,
    load_selected,
    measure,
    measure_alone,
)
from kd_lightning.training.modules import around, build_module, build_network, sources_of
from kd_lightning.training.steps import Learner, Trained, Training

KIND, WEIGHTS, RECORD = "networks", "weights.safetensors", "record.json"
OF_A_NETWORK = {"test": Each((*NUMBER, NONE)), "time": Each(NUMBER), "cache_key": Each(object)}
ANEW = "it is measured anew"


def obtain(training: Training, context: Context) -> Trained:
    """The network of a training: found, or trained now with its logs below the run's folder.

    Of several runs that need the same one, the first trains it and the others wait.

    Raises UserError where the store lacks it and cannot be written.
    """
    if len(training.learners) > 1:
        raise UserError(
            f"plan: the training {training.name} of {', '.join(training.learners)} is to be kept, which is for one "
            "network alone; let it be the last one, with is_kept=False"
        )
    network, title = training.first.network, training.title
    key, store = cache_key(training, context), context.store

    def read(home: Path) -> TestedNetwork | None:
        check_weights(home)
        say(title, f"{training.networks}, found ({home.name})")
        return as_measured(stored(training, context, home), context, home)

    def make(folder: Path) -> TestedNetwork:
        say(title, f"{training.networks}, training ({folder.stem})")
        return train(training, context, folder, key)

    try:
        found = store.obtain(KIND, key, make, read, "the network is trained anew", goes_on=has_checkpoints)
    except CannotKeep as error:
        raise cannot_keep(error, f"{network.name} trained as the {title}", KIND, store) from error
    if training.is_compared and not all_ranks_agree(holds_all(found.test, found.arrays, context.task)):
        home = store.folder(KIND, key)
        with store.held(KIND, key):  # another run may have measured it meanwhile
            found = with_all_metrics(training, as_measured(found.network, context, home), context, home, key)
    return Trained(training.name, network, found, key=key)


def cannot_keep(error: CannotKeep, what: str, kind: str, store: Store) -> UserError:
    """What to do where something is not in the store, and cannot be put there."""
    return UserError(
        f"paths.cache_dir={store.root}: cannot be written ({error.strerror}), and has no {what} "
        f"({kind}/{Path(error.filename).name}); choose another folder, there or in the environment as "
        "KD_LIGHTNING_CACHE"
    )


def cache_key(training: Training, context: Context) -> dict[str, Any]:
    """Everything that shapes the network of a training, as plain values."""
    learner, data = training.first, training.data
    own, recipe = learner.recipe, training.recipe
    if own is not None:  # of which the module takes these alone
        recipe = replace(recipe, optimizer=own.optimizer, scheduler=own.scheduler)
    network = learner.network
    weights = network.weights if network.file is None else hashlib.sha256(network.file.read_bytes()).hexdigest()
    decided_by = {
        **network.named_model(),
        "weights": weights,
        "weights_key": network.weights_key,
        **({} if network.weights_map is None else {"weights_map": network.weights_map}),
        **({} if training.finetune is None else {"finetune": training.finetune}),
        "normalization": network.normalization,
        **network.named_logits(),
        **in_key(network.conversions),
        **rebuilt_by(learner),
        **({"seeds_on": learner.seeds_on} if learner.seeds_on else {}),
        **({"taps": network.given_taps()} if network.given_taps() and takes_features(training) else {}),
        **of_terms(settings_of(learner.terms)),
        **shaped_by(recipe),
        **data_key(context),
        "batches": {"size": data.batch_size, **data.order()},
        "statistics": data.statistics(),
        **({"strong": context.settings["data"].get("strong")} if STRONG in views_taken(training) else {}),
        **learned_from(training, context),
    }
    before = learner.starts_from
    starts_from = {} if before is None or before.key is None else {before.name: dict(before.key)}
    return key_of(decided_by, context.settings["data"], starts_from=starts_from)


def rebuilt_by(learner: Learner) -> dict[str, Any]:
    """What a learner's network is rebuilt by, where it is."""
    network = learner.network
    if not learner.is_rebuilt or not isinstance(network, Student) or not network.adapt:
        return {}
    return {"adapt": network.adapt.settings if isinstance(network.adapt, Part) else told(network.adapt)}


def settings_of(terms: Callable[[], Terms]) -> Mapping[str, Any]:
    """Terms as plain values: those of the config, or of terms that a plan makes what their parts tell."""
    if isinstance(terms, Part):
        return terms.settings
    return {name: term_settings(term) for name, term in terms().items()}


def term_settings(term: Term) -> dict[str, Any]:
    """A term as plain values."""
    optional = {"projector": term.projector, "sample_weight": term.sample_weight, "stream": term.stream}
    return {
        "loss": told(term.loss),
        "signals": told(term.signals),
        "weight": told(term.weight),
        **{name: told(value) for name, value in optional.items() if value is not None},
    }


def of_terms(terms: Mapping[str, Any]) -> dict[str, Any]:
    """Terms as a key tells them: of a supervised loss alone its settings."""
    first, *others = terms.values()
    return {"terms": dict(terms)} if others or "loss" in first else {"loss": first}


def shaped_by(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe shapes numbers."""
    return {
        "optimizer": recipe.optimizer.settings,
        "scheduler": None if recipe.scheduler is None else recipe.scheduler.settings,
        "trainer": trainer_shape(recipe),
        "callbacks": callbacks_shape(recipe),
        "seed": recipe.seed,
        **({} if recipe.on_nonfinite == "stop" else {"on_nonfinite": recipe.on_nonfinite}),
    }


def learned_from(training: Training, context: Context) -> dict[str, Any]:
    """What a training learns from, and which samples it sees."""
    plain = training._replace(sources={name: one.uncached() for name, one in training.sources.items()})
    sources = sources_of(plain, [], context)
    found: dict[str, Any] = {}
    if sources:
        found["sources"] = {name: of_source(source) for name, source in sources.items()}
        told_of = {name: dict(one.described.in_key()) for name, one in training.sources.items()}
        for own in told_of.values() if not takes_features(training) else ():
            own.pop("taps", None)
        found |= {"learned_from": told_of} if any(told_of.values()) else {}
    if training.curriculum is not None:
        settings = training.curriculum.settings
        files = {name: hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in files_in(settings)}
        found["curriculum"] = {**settings, "files": files} if files else settings
    return found


def files_in(value: Any) -> Iterator[str]:
    """The files that plain values name, of which a key tells the content."""
    if isinstance(value, str) and os.path.isfile(value):
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from files_in(inner)


def find(training: Training, context: Context) -> nn.Module | None:
    """The network of a training as an earlier run left it, or None, and with a warning where that is damaged."""

    def read(home: Path) -> nn.Module | None:
        if not (home / RECORD).exists():
            return None
        check_weights(home)
        return stored(training, context, home)

    return context.store.find(KIND, cache_key(training, context), read, "the same kd-train trains it anew")


def is_trained(training: Training, context: Context) -> bool:
    """Whether an earlier run has done a training."""
    home = context.store.folder(KIND, cache_key(training, context))
    return safetensors_fault(home / WEIGHTS) is None


def has_checkpoints(folder: Path) -> bool:
    """Whether a training left something to go on from."""
    return any(folder.glob(checkpoint("*")))


def check_weights(home: Path) -> None:
    """Raise `Damaged` unless they are as they were written."""
    if (fault := safetensors_fault(home / WEIGHTS)) is not None:
        raise damaged(home / WEIGHTS, fault)


def as_measured(network: nn.Module, context: Context, home: Path) -> TestedNetwork:
    """A network with what its folder tells of it: no metrics where these are damaged, not there, or of another task."""
    record = sound_record(home / RECORD, OF_A_NETWORK, ANEW, strict=True)
    arrays = sound_arrays(home / EVALUATION, ANEW)
    if record is None or record.get("measured_by") != measured_by(context):
        return TestedNetwork(network, {})
    return TestedNetwork(network, record["test"], record["time"], arrays)


def stored(training: Training, context: Context, home: Path) -> nn.Module:
    """The network of a training with the weights in a folder."""
    learner = training.first
    return build_network(learner._replace(network=learner.network.at(home / WEIGHTS)), around(training), context)


def with_all_metrics(
    training: Training, found: TestedNetwork, context: Context, home: Path, key: dict[str, Any]
) -> TestedNetwork:
    """A found network as it is, or where its record is damaged or older than a metric measured anew, and kept so."""
    if all_ranks_agree(holds_all(found.test, found.arrays, context.task)):
        return found
    reason = "a metric is newer than its record" if found.test else "its record is of another task, or not whole"
    say(training.title, f"measured anew: {reason}")
    measured = measure_alone(found.network, context, training.first.network.logits_tap())
    if is_first_rank():
        try:
            write_arrays(home / EVALUATION, measured.arrays)
            write_json(home / RECORD, record_of(measured.test, found.time, key, context))
        except OSError as error:
            warn(f"paths.cache_dir: {home} cannot be written ({error.strerror or error}); its metrics are not kept")
    return replace(measured, time=found.time)


def train(
    training: Training,
    context: Context,
    folder: Path,
    key: dict[str, Any],
    beside: Sequence[Callback] = (),
    fitted: Callable[[Fit, DistillationModule], None] | None = None,
) -> TestedNetwork:
    """Train a network in a folder, where an interrupted training is taken up again.

    Callbacks may stand `beside` it; what is `fitted` is seen with its last weights, while its checkpoints are there.

    Raises NonFinite for one whose outputs are not finite.
    """
    module, network = build_module(training, context), training.first.network
    data = data_of(training)
    with one_wandb_run():
        description = context.describe(training)
        own = [*unfreezing(training, module), *beside]
        done = fit(training.recipe, module, data, folder, context.folder / training.name, description, own)
        if fitted is not None:
            fitted(done, module)
        load_selected(module, data, folder)
        metrics, arrays = measure(done.trainer, module, data) if training.is_compared else ({}, {})
        metrics |= done.found(module.learner)
        if not is_sound(metrics):
            raise NonFinite(f"{network.owner}: its logits on the test set are not finite, so it is not kept")
        trained = TestedNetwork(module.student, metrics, done.time, arrays)
        if done.trainer.is_global_zero:
            save_weights(module.student, folder / WEIGHTS, network.file_metadata(module.student))
            write_arrays(folder / EVALUATION, arrays)
            write_json(folder / RECORD, record_of(metrics, done.time, key, context))
            if training.is_compared:
                log_results(done.trainer.loggers, outcome_alone(metrics, {**arrays, **module.task.constants(data)}))
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return trained


def data_of(training: Training) -> DataModule:
    """What a training is on: the samples in the views that its terms take; where it is not kept, also the strong."""
    return training.data.with_views(views_taken(training) | (set() if training.is_kept else {STRONG}))


def takes_features(training: Training) -> bool:
    """Whether terms take more of networks than their logits."""
    signals = (read_signal(name) for one in training.learners.values() for name in names_in(one.terms()))
    return any(signal is not None and signal.tap != "logits" for signal in signals)


def views_taken(training: Training) -> set[str]:
    """The further views of samples that its terms take."""
    return set().union(*(views_in(names_in(one.terms())) for one in training.learners.values()))


def record_of(test: Metrics, time: Mapping[str, float], key: dict[str, Any], context: Context) -> dict[str, Any]:
    """What is told beside a network's weights."""
    return {"test": test, "time": time, "measured_by": measured_by(context), "cache_key": key}
