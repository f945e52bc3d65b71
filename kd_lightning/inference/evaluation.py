"""Testing a finished run again, from its folder alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning import Trainer
from omegaconf import DictConfig
from torch import nn

from kd_lightning.columns import VALIDATED, Compared
from kd_lightning.config.folder.stored_config import run_config
from kd_lightning.config.parts.recipe import recipe_of
from kd_lightning.config.parts.task import drawn
from kd_lightning.data import DataModule
from kd_lightning.errors import UserError
from kd_lightning.experiment.experiment import experiment_of
from kd_lightning.inference.late_results import log_later
from kd_lightning.module import DistillationModule
from kd_lightning.networks import Network, Student
from kd_lightning.plans import Convert, Learner, Mean, Parts, Trained, Training
from kd_lightning.plans.follow import follow
from kd_lightning.plans.plan import Step
from kd_lightning.reporting.figures.stored import write_figures
from kd_lightning.reporting.pages.page import write_run_page
from kd_lightning.runs.arrays import arrays_of, read_arrays, write_evaluation
from kd_lightning.runs.caution import part
from kd_lightning.runs.files import EVALUATION, SUMMARY
from kd_lightning.runs.files import checkpoint as checkpoint_file
from kd_lightning.runs.folder import checkpoint_name, finished, write_summary
from kd_lightning.runs.summary import Role, Summary
from kd_lightning.system.records import Damaged, archive_is_damaged
from kd_lightning.taps.inspection import Adapt
from kd_lightning.teachers import Teacher
from kd_lightning.training import converting, kept
from kd_lightning.training.fit import quiet
from kd_lightning.training.measuring import (
    TestedNetwork,
    Weights,
    best_of,
    stored_weights,
    test_each,
    test_learners,
    weights_in,
)
from kd_lightning.training.modules import by_itself, one_or_each

Columns = dict[str, dict[str, Any]]


def evaluate(config: DictConfig) -> tuple[Columns, Compared, str]:
    """The test metrics of a run's learners now and in its summary, by what a table calls them, and the checkpoint."""
    folder = Path(config.run).expanduser()
    run = run_config(config.run, config.trust)
    if config.data.root is not None:
        run.data.root = config.data.root
    checkpoint = checkpoint_name(config.checkpoint, folder)
    module, data, names = rebuilt(run, folder, checkpoint)
    tested = test_each(one_device(run, config.trainer), module, data)
    summary, found = finished(folder), Columns()
    for name, (metrics, _) in zip(names, tested.values(), strict=True):
        network = None if summary is None else summary.network(name)
        stored = {} if network is None else without_validation(network.record)
        seen = {} if summary is None else summary.data
        titles = ("now", f"in {SUMMARY}") if len(names) == 1 else (f"{name} now", f"{name} stored")
        for title, own in zip(titles, (metrics, stored), strict=True):
            found[title] = {**own, "part": part(own, seen)} if seen else {**own}
    return found, module.task.compared(), checkpoint


def without_validation(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if not name.endswith(VALIDATED)}


def test_run(folder: Path) -> Summary:
    """Test a finished run's learners and write the results where a tested run has them; returns the summary.

    Rewrites summary.json, evaluation.npz and report.html, and reopens the run's loggers. Raises `UserError` where the
    folder holds no finished run.
    """
    config, selected = run_config(folder), checkpoint_name(None, folder)
    summary = finished(folder)
    if summary is None:
        raise UserError(f"run={folder}: has not finished; run the same kd-train in this folder again")
    module, data, names = rebuilt(config, folder, selected)
    weights = {learner: of_checkpoints(folder, learner, module.learners) for learner in module.learners}
    results = test_learners(one_device(config, {}), module, data, weights, selected)
    tested = dict(zip(names, results.values(), strict=True))
    summary = replace(summary, data=summary.data | {"tested": True})
    records = {name: {**own.record, **tested[name][0]} for name in names if (own := summary.network(name)) is not None}
    summary = summary.with_records(records)
    constants, found = module.task.constants(data), read_arrays(folder / EVALUATION)
    arrays = {name: arrays_of(name, found) for name in summary.plan.networks}
    arrays |= {name: own for name, (_, own) in tested.items()}
    write_evaluation(folder, constants, arrays)
    write_figures(folder, drawn(module.task, arrays, constants))
    write_summary(folder, summary)
    write_run_page(folder)
    log_later(config, folder, summary, {**arrays[summary.result.name], **constants})
    return summary


def of_checkpoints(folder: Path, learner: str, learners: Sequence[str]) -> dict[str, Weights]:
    found = {which: stored_weights(folder, which, learner, learners) for which in ("last", "best")}
    return {which: weights for which, weights in found.items() if weights is not None}


def rebuilt(run: DictConfig, folder: Path, which: str) -> tuple[DistillationModule, DataModule, list[str]]:
    """The learners of a run as a checkpoint has them, with what they learned from where that is here; data and names.

    Raises Damaged.
    """
    experiment = experiment_of(run)
    data, parts = experiment.data, experiment.parts
    data.check()
    data.prepare_data()
    found = Lookup(parts)
    follow(experiment.plan.steps(parts), found.look)
    training = found.result()
    names = list(training.learners)
    networks = {name: network_in(folder, which, name, training, data) for name in names}
    sources = {name: one.uncached() for name, one in training.sources.items()}
    given = {name: one.source(name, [f"{name}.logits"], parts.context) for name, one in sources.items()}
    there = {name: source for name, source in given.items() if source is not None}
    module = DistillationModule(
        student=one_or_each(networks),
        teacher=by_itself(there),
        student_taps=one_or_each({name: one.network.logits_tap() for name, one in training.learners.items()}),
        task=experiment.task,
    )
    for name, source in module.sources.items():
        if name in there and source.changes:  # as it was at the end, when it was measured
            source.load_state_dict(weights_in(folder, "last", name) or {})
    return module, data, names


def network_in(folder: Path, which: str, name: str, training: Training, data: DataModule) -> nn.Module:
    """A learner's network as a checkpoint has it. Raises Damaged."""
    several, network = len(training.learners) > 1, training.learners[name].network
    checkpoint = folder / checkpoint_file(best_of(name) if several and which == "best" else which)
    if archive_is_damaged(checkpoint):
        other = "last" if which == "best" else "best"
        raise Damaged(f"{checkpoint}: is damaged; checkpoint={other} tests the other one")
    adapt = adapted_around(training.learners[name], training, data)
    if not several:
        return network.at(checkpoint).build(data, adapt)
    built = network.build(data, adapt)
    built.load_state_dict(stored_weights(folder, which, name, [*training.learners]) or {})
    return built


def adapted_around(learner: Learner, training: Training, data: DataModule) -> Adapt | None:
    """How a learner's network is rebuilt, around one like what it learns from, without its weights."""
    network, others = learner.network, [one.described for one in training.sources.values()]
    if not isinstance(network, Student):
        return None
    return network.adapted_to_one_like(lambda example: next((one.like(data, example) for one in others), None))


class Lookup:
    """Finds what the steps of a plan gave in an earlier run, and trains nothing.

    `baselines` says whether those are looked for that nothing takes up. `networks` are those that were found, by name.
    """

    def __init__(self, parts: Parts, baselines: bool = False) -> None:
        self.context, self.baselines = parts.context, baselines
        self.networks: dict[str, tuple[Network, nn.Module]] = {}
        self._last: Training | None = None

    def look(self, step: Step) -> Trained:
        if isinstance(step, Teacher):
            network = step.find(self.context)
            members = [*step.networks().values()]
            if network is not None and len(members) == 1:
                self.networks[step.role] = members[0], network
            return Trained(step.role, step, None if network is None else TestedNetwork(network, {}))
        if isinstance(step, Convert):
            return converting.looked_up(step)
        if isinstance(step, Mean):
            return Trained(step.name, step, None)
        self._last = step
        wanted = step.is_kept and (self.baselines or step.first.role is not Role.BASELINE)  # which nothing takes up
        network = kept.find(step, self.context) if wanted else None
        if network is not None:
            self.networks[step.name] = step.first.network, network
        return Trained(step.name, step.first.network, None if network is None else TestedNetwork(network, {}))

    def result(self) -> Training:
        """The training that the run is about."""
        assert self._last is not None
        return self._last


def one_device(run: DictConfig, options: Mapping[str, Any]) -> Trainer:
    """The run's trainer on one device, silent. Raises UserError for options that this decides."""
    quiet()
    fixed = {"devices": 1, "strategy": "auto", "logger": False, "enable_checkpointing": False}
    if name := next((name for name in options if name in fixed), None):
        raise UserError(f"trainer.{name}={options[name]}: a test runs on one device and writes nothing; leave it away")
    trainer: Trainer = instantiate(recipe_of(Student.owner, run).trainer, **{**options, **fixed})
    return trainer
