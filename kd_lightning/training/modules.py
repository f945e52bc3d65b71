"""The module of a training."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from lightning import seed_everything
from torch import Tensor, nn

from kd_lightning.conversions import conversions_of, replayed
from kd_lightning.module import DistillationModule
from kd_lightning.networks import Network, Student
from kd_lightning.objective import names_in, need_training_labels
from kd_lightning.sources import Source
from kd_lightning.training.answers.of_samples import keeping
from kd_lightning.training.context import Context, Recipe
from kd_lightning.training.steps import Learner, Trained, Training

Each = TypeVar("Each")


def build_module(training: Training, context: Context) -> DistillationModule:
    """The module of a training; random weights come from its seed alone.

    One that prepares another trains that one's networks, and is built behind it.
    """
    if training.prepares is not None:
        prepared = build_module(training.prepares, context)
        learned = (prepared.network_of(name) for name in prepared.learners)
        return module_around(dict(zip(training.learners, learned, strict=True)), training, context)
    networks, states = {}, {}
    for name, learner in training.learners.items():
        seed_everything(training.recipe.seeds_on(learner.seeds_on).seed, workers=True, verbose=False)
        networks[name] = build_network(learner, around(training), context)
        states[name] = torch.get_rng_state()
    module = module_around(networks, training, context, states if len(states) > 1 else None)
    for name, learner in zip(module.learners, training.learners.values(), strict=True):
        if learner.starts_from is not None:
            go_on_from(learner.starts_from, name, module)
    return module


def go_on_from(before: Trained, learner: str, module: DistillationModule) -> None:
    """Have a learner's network begin as a step before left it, and so the parts of terms that it trained by name."""
    if before.network is None:  # which a checkpoint brings
        return
    module.network_of(learner).load_state_dict(before.network.state_dict())
    objective = module.objectives[learner]
    own = objective.state_dict()
    learned = {name: value for name, value in before.terms_state.items() if name in own}
    objective.load_state_dict(learned, strict=False)
    module.begin_sources()  # with a network that has learned, and for terms that take other taps
    module.ask_sources()


def around(training: Training) -> nn.Module | None:
    """The network that one which is rebuilt is rebuilt around: what it learns from."""
    return next((one.network for one in training.sources.values()), None)


def build_network(learner: Learner, other: nn.Module | None, context: Context) -> nn.Module:
    """A learner's network as it begins, rebuilt around another one where it says so."""
    network = learner.network
    adapt = network.adapted_to(other) if isinstance(network, Student) and learner.is_rebuilt else None
    built = network.build(context.data, adapt)
    before = learner.starts_from
    if before is None or before.network is None or network.file is not None:
        return built
    entries = conversions_of(before.network)
    return replayed(built, entries, trusted=[entry["conversion"] for entry in entries])


def module_around(
    networks: Mapping[str, nn.Module],
    training: Training,
    context: Context,
    random_states: Mapping[str, Tensor] | None = None,
) -> DistillationModule:
    """The module that trains these networks as a training says."""
    learners, data = training.learners, training.data
    terms = {name: dict(learner.terms()) for name, learner in learners.items()}
    names = list(dict.fromkeys(name for own in terms.values() for name in names_in(own)))
    knows_data = any(need_training_labels(own) for own in terms.values())
    recipes = {name: learner.recipe or training.recipe for name, learner in learners.items()}
    if training.is_kept and not knows_data and set(names) <= {"student.logits", "target"}:
        given: dict[str, Any] = {"student_taps": one_or_each(taps_of(learners, logits_alone=True))}
    else:
        sources = sources_of(training, names, context)
        data.setup()
        given = {
            "teacher": by_itself(sources),
            "student_taps": one_or_each(taps_of(learners)),
            "example_input": dict(data.streams) or data.example(),
            "training_set": data.training_set(),
        }
    module = DistillationModule(
        student=one_or_each(networks),
        terms=one_or_each(terms),
        optimizer=one_or_each({name: recipe.optimizer.make for name, recipe in recipes.items()}),
        scheduler=one_or_each({name: schedule_of(recipe) for name, recipe in recipes.items()}),
        on_nonfinite=training.recipe.on_nonfinite,
        task=context.task,
        curriculum=None if training.curriculum is None else training.curriculum(),
        random_states=random_states,
        config={} if training.is_kept else dict(context.settings),
        **given,
    )
    if module.followed is not None:
        module.followed.keep = keeping(replace(context, recipe=training.recipe, data=training.data))
    return module


def one_or_each(values: Mapping[str, Each]) -> Any:
    """What belongs to the only learner, or by the names of several."""
    return dict(values) if len(values) > 1 else next(iter(values.values()))


def by_itself(sources: Mapping[str, Source]) -> Source | Mapping[str, Source] | None:
    """The teacher where it is the only source; else all of them by name."""
    return sources["teacher"] if [*sources] == ["teacher"] else sources or None


def taps_of(learners: Mapping[str, Learner], *, logits_alone: bool = False) -> dict[str, Any]:
    networks: dict[str, Network] = {name: learner.network for name, learner in learners.items()}
    if logits_alone:
        return {name: network.logits_tap() for name, network in networks.items()}
    return {name: network.given_taps() or "auto" for name, network in networks.items()}


def schedule_of(recipe: Recipe) -> Any:
    return None if recipe.scheduler is None else recipe.scheduler.make


def sources_of(training: Training, names: list[str], context: Context) -> dict[str, Source]:
    """What a training learns from: sources of the signals that its terms take by these names."""
    of_training = replace(context, recipe=training.recipe, data=training.data)
    found = {name: one.source(name, names, of_training) for name, one in training.sources.items()}
    return {name: source for name, source in found.items() if source is not None}
