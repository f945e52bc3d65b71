"""The experiments are what was published: pairs, recipe, weights, numbers."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from kd_lightning.config.conf import conf_dir, options
from kd_lightning.config.parts.recipe import recipe_of
from kd_lightning.models import check_model_name
from tests.cli.test_configs import composed

CIFAR = [name for name in options("experiment") if name.startswith("cifar100/")]
IMAGENET = [name for name in options("experiment") if name.startswith("imagenet/")]
IN_SMALLER_BATCHES = [f"imagenet/{name}" for name in ("crd", "dist", "ofd", "reviewkd")]
EVERY_METHOD_SOMEWHERE = [
    (method, next(experiments[method.startswith("imagenet/")]))
    for experiments in [(itertools.cycle(CIFAR), itertools.cycle(IMAGENET))]
    for method in options("method")
    if "/teacher: none" not in (conf_dir() / f"method/{method}.yaml").read_text()  # an experiment is of a teacher
]


def of_pair(teacher: str, student: str, method: str) -> DictConfig:
    return composed(f"experiment=cifar100/{teacher}_{student}", f"method={method}")


def recipe(config: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=True)
    shown = {key: plain[key] for key in ("optimizer", "scheduler", "trainer")}
    teacher = {**plain["teacher"], "batch_statistics": None}
    data = {**plain["data"], "strong": None, "mixup": None}
    return {**shown, "teacher": teacher, "data": data, "model": plain["student"]["model"]}


@pytest.mark.parametrize(("method", "experiment"), EVERY_METHOD_SOMEWHERE)
def test_a_method_leaves_the_recipe_of_an_experiment_alone(method: str, experiment: str) -> None:
    config = composed(f"experiment={experiment}", f"method={method}", "data.root=somewhere")
    expected = recipe(composed(f"experiment={experiment}", "data.root=somewhere"))
    if method in IN_SMALLER_BATCHES:
        expected["data"]["batch_size"], expected["optimizer"]["lr"] = 256, 0.1
    found = recipe(config)
    text = (conf_dir() / f"method/{method}.yaml").read_text()
    if "/teacher: " in text or "_target_: kd_lightning.teachers." in text:  # another kind of teacher is the method
        assert found.pop("teacher")["_target_"] != expected.pop("teacher")["_target_"]
    assert found == expected
    assert list(config.loss) == list(composed(f"method={method}").loss)


@pytest.mark.parametrize("experiment", CIFAR)
def test_the_recipe_for_cifar100(experiment: str) -> None:
    config = composed(f"experiment={experiment}")
    assert experiment == f"cifar100/{config.teacher.model}_{config.student.model}"
    slow = config.student.model in ("MobileNetV2", "ShuffleV1", "ShuffleV2")
    assert OmegaConf.to_container(config.optimizer) == {
        "_target_": "torch.optim.SGD",
        "_partial_": True,
        "lr": 0.01 if slow else 0.05,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 5e-4,
        "fused": True,
        "layer_decay": None,
        "sam": None,
    }
    assert [share * config.trainer.max_epochs for share in config.scheduler.milestones] == [150, 180, 210]
    assert (config.scheduler.factor, config.scheduler.warmup, config.scheduler.interval) == (0.1, 0, "epoch")
    assert (config.trainer.max_epochs, config.trainer.precision) == (240, "32-true")
    assert (config.data.batch_size, config.data.val_fraction, config.data.train_samples) == (64, 0, None)
    assert OmegaConf.to_container(config.data.augment) == {
        "_target_": "kd_lightning.data.CropFlip",
        "padding": 4,
        "flip": True,
    }
    assert list(config.loss) == ["ce", "kd"]


@pytest.mark.parametrize("experiment", IMAGENET)
def test_the_recipe_for_imagenet(experiment: str) -> None:
    config = composed(f"experiment={experiment}", "data.root=somewhere")
    assert (config.optimizer.lr, config.optimizer.momentum, config.optimizer.weight_decay) == (0.2, 0.9, 1e-4)
    assert [share * config.trainer.max_epochs for share in config.scheduler.milestones] == [30, 60, 90]
    assert (config.trainer.max_epochs, config.data.batch_size, config.scheduler.warmup) == (100, 512, 0)
    assert (config.teacher.weights, config.student.weights) == ("pretrained", None)
    assert (config.loss.ce.weight, config.loss.kd.weight, config.loss.kd.loss.temperature) == (0.5, 0.5, 1)


@pytest.mark.parametrize("experiment", [*CIFAR, *IMAGENET])
def test_the_models_exist(experiment: str) -> None:
    config = composed(f"experiment={experiment}", "data.root=somewhere")
    for role in ("student", "teacher"):
        check_model_name(config[role].model, f"{role}.model")


@pytest.mark.parametrize(
    ("teacher", "student", "beta"),
    [
        ("resnet32x4", "resnet8x4", 8),
        ("resnet56", "resnet20", 2),
        ("resnet110", "resnet32", 2),
        ("resnet110", "resnet20", 8),
        ("wrn_40_2", "wrn_16_2", 6),
        ("wrn_40_2", "wrn_40_1", 6),
        ("wrn_40_2", "ShuffleV1", 8),
        ("vgg13", "vgg8", 6),
        ("vgg13", "MobileNetV2", 6),
        ("ResNet50", "MobileNetV2", 8),
    ],
)
def test_beta_of_dkd_by_pair(teacher: str, student: str, beta: float) -> None:
    assert of_pair(teacher, student, "dkd").loss.dkd.loss.beta == beta


@pytest.mark.parametrize(
    ("teacher", "student", "temperature", "weight", "beta"),
    [
        ("vgg13", "vgg8", 2, 15, 2),
        ("wrn_40_2", "wrn_40_1", 2, 12, 2),
        ("wrn_40_2", "wrn_16_2", 2, 12, 2),
        ("resnet56", "resnet20", 3, 18, 2),
        ("resnet110", "resnet32", 2, 15, 2),
        ("resnet110", "resnet20", 2, 15, 2),
        ("vgg13", "MobileNetV2", 3, 9, 2),
        ("ResNet50", "MobileNetV2", 2, 15, 2),
        ("resnet32x4", "resnet8x4", 2, 9, 8),
        ("resnet32x4", "ShuffleV2", 2, 9, 8),
    ],
)
def test_dkd_of_standardized_logits_by_pair(
    teacher: str, student: str, temperature: float, weight: float, beta: float
) -> None:
    term = of_pair(teacher, student, "dkd_ls").loss.ls
    assert (term.loss.loss.temperature, term.weight.value, term.loss.loss.beta) == (temperature, weight, beta)
    assert (term.weight.epochs, term.loss.loss.alpha) == (20, 1)


@pytest.mark.parametrize(
    ("teacher", "student", "temperature", "weight"),
    [
        ("resnet110", "resnet20", 4, 12),
        ("resnet110", "resnet32", 2, 9),
        ("vgg13", "vgg8", 3, 9),
        ("vgg13", "MobileNetV2", 3, 9),
        ("ResNet50", "MobileNetV2", 3, 1),
        ("resnet32x4", "resnet8x4", 2, 9),
    ],
)
def test_standardized_logits_by_pair(teacher: str, student: str, temperature: float, weight: float) -> None:
    term = of_pair(teacher, student, "ls").loss.ls
    assert (term.loss.loss.temperature, term.weight) == (temperature, weight)


@pytest.mark.parametrize(
    ("teacher", "student", "weight"),
    [
        ("resnet32x4", "resnet8x4", 5),
        ("resnet56", "resnet20", 0.6),
        ("resnet110", "resnet32", 1),
        ("resnet32x4", "ShuffleV2", 8),
    ],
)
def test_weight_of_reviewkd_by_pair(teacher: str, student: str, weight: float) -> None:
    schedule = of_pair(teacher, student, "reviewkd").loss.reviewkd.weight
    assert (schedule.value, schedule.epochs) == (weight, 20)


@pytest.mark.parametrize(
    ("method", "weights"),
    [
        ("kd", {"ce": 0.1, "kd": 0.9}),
        ("ctkd", {"ce": 0.1, "ctkd": 0.9}),
        ("ls", {"ce": 0.1, "ls": 9}),
        ("mlkd", {"ce": 0.1, "mlkd": 0.9, "ce_strong": 0.1}),
        ("dist", {"ce": 1, "dist": 2}),
        ("funmatch", {"kd": 1}),
        ("wsld", {"ce": 1, "wsld": 2.5}),
        ("ps_kd", {"ps_kd": 1}),
        ("tf_kd", {"ce": 0.05, "kd": 0.475}),
        ("tf_kd_reg", {"ce": 0.9, "tf_kd_reg": 0.1}),
        ("uskd", {"ce": 1, "uskd": 1}),
        ("fitnet", {"ce": 1, "fitnet": 100}),
        ("attention", {"ce": 1, "attention": 1000}),
        ("sp", {"ce": 1, "sp": 3000}),
        ("cc", {"ce": 1, "cc": 0.02}),
        ("vid", {"ce": 1, "vid": 1}),
        ("rkd", {"ce": 1, "rkd": 1}),
        ("pkt", {"ce": 1, "pkt": 30000}),
        ("nst", {"ce": 1, "nst": 50}),
        ("crd", {"ce": 1, "crd": 0.8}),
        ("ofd", {"ce": 1, "ofd": 0.001}),
        ("ft", {"ce": 1, "ft": 200}),
        ("ab", {"ce": 1}),
        ("fsp", {"ce": 1}),
        ("simkd", {"simkd": 1}),
        ("deit", {"ce": 0.5, "hard_label": 0.5}),
    ],
)
def test_published_weights(method: str, weights: dict[str, float]) -> None:
    config = of_pair("resnet32x4", "resnet8x4", method)
    assert {name: term.weight for name, term in config.loss.items()} == pytest.approx(weights)


def test_funmatch_mixes_uniformly_and_trains_longer() -> None:
    config = composed("experiment=imagenet/resnet34_resnet18", "method=funmatch", "data.root=somewhere")
    assert (config.data.mixup, config.data.cutmix, config.loss.kd.loss.temperature) == (1.0, None, 1.0)
    assert recipe_of("student", config).trainer.max_epochs == 1200  # of ImageNet, as published
    assert config.trainer.max_epochs == 100


def test_warm_up_of_dkd() -> None:
    dkd = of_pair("resnet32x4", "resnet8x4", "dkd").loss.dkd
    assert (dkd.weight.value, dkd.weight.epochs, dkd.loss.alpha, dkd.loss.temperature) == (1, 20, 1, 4)


@pytest.mark.parametrize(
    ("experiment", "beta", "weight", "max_width"),
    [("resnet34_resnet18", 0.5, 1, 512), ("resnet50_mobilenetv1", 2, 8, 256)],
)
def test_values_of_imagenet_pairs(experiment: str, beta: float, weight: float, max_width: int) -> None:
    dkd = composed(f"experiment=imagenet/{experiment}", "method=imagenet/dkd").loss.dkd
    assert (dkd.weight, dkd.loss.beta, dkd.loss.temperature) == (1, beta, 1)
    reviewkd = composed(f"experiment=imagenet/{experiment}", "method=imagenet/reviewkd").loss.reviewkd
    assert (reviewkd.weight, reviewkd.loss.max_width) == (weight, max_width)


@pytest.mark.parametrize(
    ("teacher", "student", "lr", "epochs"),
    [
        ("resnet110", "resnet32", 0.025, 240),
        ("resnet32x4", "resnet8x4", 0.025, 240),
        ("resnet56", "resnet20", 0.025, 240),
        ("vgg13", "vgg8", 0.025, 240),
        ("wrn_40_2", "wrn_16_2", 0.025, 240),
        ("wrn_40_2", "wrn_40_1", 0.025, 240),
        ("vgg13", "MobileNetV2", 0.01, 480),
        ("ResNet50", "MobileNetV2", 0.01, 480),
        ("wrn_40_2", "ShuffleV1", 0.01, 480),
        ("resnet32x4", "ShuffleV1", 0.01, 960),
        ("resnet32x4", "ShuffleV2", 0.01, 960),
    ],
)
def test_recipe_of_mlkd_by_pair_is_the_distilled_students_alone(
    teacher: str, student: str, lr: float, epochs: int
) -> None:
    config = of_pair(teacher, student, "mlkd")
    distilled = recipe_of("student", config)
    assert (distilled.optimizer.lr, distilled.trainer.max_epochs) == (pytest.approx(lr), epochs)
    assert [share * epochs for share in distilled.scheduler.milestones] == [150, 180, 210]
    others = {"trainer": {"max_epochs": 240}, "optimizer": {"lr": lr if lr == 0.01 else 0.05}}
    assert all(config[part][name] == value for part, values in others.items() for name, value in values.items())
    for part in ("optimizer", "scheduler", "trainer"):
        changed = {"lr", "milestones", "max_epochs"}
        kept, own = ({k: v for k, v in one[part].items() if k not in changed} for one in (config, distilled))
        assert kept == own


@pytest.mark.parametrize("method", ["ab", "fsp", "ft"])
def test_methods_of_two_phases_begin_with_thirty_epochs(method: str) -> None:
    first = of_pair("resnet32x4", "resnet8x4", method).initialization
    assert (first.epochs, first.lr) == (30, 0.01 if method == "ft" else 0.05)
    assert {name: term.weight for name, term in first.loss.items()} == {method: 1}


def test_headers_have_the_published_numbers(shared: Path) -> None:
    published = (shared / "reference" / "published.md").read_text()
    rows = re.findall(r"^\| (\w+) → (\w+) \|(.+)\|$", published, re.MULTILINE)
    assert len(rows) == len(CIFAR)
    for teacher, student, row in rows:
        text = (conf_dir() / "experiment" / "cifar100" / f"{teacher}_{student}.yaml").read_text()
        numbers, header = (re.findall(r"\d+\.\d+", part) for part in (row, text.partition("defaults:")[0]))
        assert header[: len(numbers)] == numbers
