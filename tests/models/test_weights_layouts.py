"""Weights in files of every layout: where they lie, which of several are taken, and what may be left out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from kd_lightning.errors import UserError
from kd_lightning.models import create_model, load_weights, state_sha256
from tests.conftest import Command
from tests.models.test_weights import State, network, prefixed
from tests.taps.test_taps import on_meta

SHORT = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "callbacks.progress_bar=null", "test=false")


@pytest.fixture
def one() -> nn.Module:
    return network(seed=1)


@pytest.fixture
def other() -> State:
    return network(seed=7).state_dict()


def loads(layout: Any, model: nn.Module, path: Path, **options: Any) -> str:
    """What a network is after it got its weights from such a file."""
    torch.save(layout, path)
    load_weights(model, path, "student.weights", **options)
    return state_sha256(model)


@pytest.mark.parametrize(
    "keys",
    ["params", "weights", "network", "student", "backbone", "module", "best_model", "checkpoint.model", "a.b.c", "7"],
)
def test_weights_under_any_key_load(keys: str, one: nn.Module, tmp_path: Path) -> None:
    layout: Any = one.state_dict()
    for key in reversed(keys.split(".")):
        layout = {key: layout, "epoch": 3}
    moments = {number: {"exp_avg": torch.zeros(2), "step": torch.tensor(5.0)} for number in range(3)}
    layout |= {"optimizer": {"state": moments, "param_groups": [{"lr": 0.1}]}}
    assert loads(layout, network(seed=2), tmp_path / "w.pth") == state_sha256(one)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weight: weight.to(torch.complex64), "complex64"),
        (lambda weight: weight.to(torch.int32), "int32"),
        (lambda weight: weight.to_sparse(), "sparse_coo float32"),
        (lambda weight: weight.to("meta"), "meta"),
    ],
)
def test_weights_that_would_load_as_other_numbers_are_refused(
    change: Callable[[Tensor], Tensor], words: str, one: nn.Module, tmp_path: Path
) -> None:
    untouched = state_sha256(one)
    layout = {name: change(value) if value.ndim == 4 else value for name, value in one.state_dict().items()}
    with pytest.raises(UserError, match=rf"^student.weights=.*w.pth: layer1.0.weight is {words}; save"):
        loads({"a": layout, "b": network(seed=2).state_dict()}, one, tmp_path / "w.pth")
    assert state_sha256(one) == untouched


@pytest.mark.parametrize(
    "wrapper", ["_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_orig_mod"]
)
def test_names_of_wrappers_count_for_nothing(wrapper: str, one: nn.Module, tmp_path: Path) -> None:
    inside = {name.replace("layer1.0.", f"layer1.0.{wrapper}."): value for name, value in one.state_dict().items()}
    for layout in (inside, prefixed(f"{wrapper}.", inside), prefixed(f"module.student.{wrapper}.", inside)):
        assert loads(layout, network(seed=2), tmp_path / "w.pth") == state_sha256(one)


@pytest.mark.parametrize("prefix", ["backbone.", "distiller.student.", "_forward_module.learner._orig_mod."])
def test_names_with_an_owner_load(prefix: str, one: nn.Module, tmp_path: Path) -> None:
    layout = prefixed(prefix, one.state_dict()) | {"loss.weight": torch.zeros(2)}
    assert loads({"state_dict": layout}, network(seed=2), tmp_path / "w.pth") == state_sha256(one)


AVERAGES: dict[str, Callable[[State, State], Any]] = {
    "timm": lambda plain, average: {"state_dict": plain, "state_dict_ema": average, "metric": 71.0},
    "torchvision": lambda plain, average: {
        "model": plain,
        "model_ema": {"n_averaged": torch.tensor(9), **prefixed("module.", average)},
    },
    "beside": lambda plain, average: {"weights": plain, "ema": average},
    "nested": lambda plain, average: {"net": plain, "ema": {"decay": 0.999, "module": average}},
    "stochastic": lambda plain, average: {"state_dict": plain, "swa_model": prefixed("module.", average)},
    "lightning": lambda plain, average: {
        "pytorch-lightning_version": "2.5.5",
        "state_dict": prefixed("student.", plain) | prefixed("ema_model.module.", average),
    },
    "flat": lambda plain, average: {
        **prefixed("online_model.", plain),
        **prefixed("ema_model.", average),
        "step": torch.tensor(3),
    },
    "without a name": lambda plain, average: {
        "model": plain,
        "second": {"n_averaged": torch.tensor(9), **prefixed("module.", average)},
    },
}
WHERE = dict(
    zip(
        AVERAGES,
        ("state_dict_ema", "model_ema", "ema", "ema", "swa_model", "ema_model", "ema_model", "second"),
        strict=True,
    )
)


@pytest.mark.parametrize("form", AVERAGES)
def test_of_plain_and_averaged_weights_a_key_chooses(
    form: str, one: nn.Module, other: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = AVERAGES[form](other, one.state_dict())
    assert loads(layout, network(seed=2), tmp_path / "w.pth", weights_key=WHERE[form]) == state_sha256(one)
    assert capsys.readouterr().out == ""
    plain = network(seed=7)
    assert loads(layout, network(seed=2), tmp_path / "w.pth") == state_sha256(plain)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("student")
    assert "student.weights_key=" in line
    assert WHERE[form] in line


def test_averaged_weights_alone_load(one: nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for layout in (AveragedModel(one).state_dict(), {"state_dict_ema": one.state_dict(), "epoch": 3}):
        assert loads(layout, network(seed=2), tmp_path / "w.pth") == state_sha256(one)
    save_file(AveragedModel(one).state_dict(), tmp_path / "w.safetensors")
    model = network(seed=2)
    load_weights(model, tmp_path / "w.safetensors")
    assert state_sha256(model) == state_sha256(one)
    assert capsys.readouterr().out == ""


def test_where_there_is_no_telling_the_keys_are_named(one: nn.Module, other: State, tmp_path: Path) -> None:
    layout = {"first": one.state_dict(), "second": other}
    with pytest.raises(UserError, match=r"student.weights=.*under first and second; .*student.weights_key=first"):
        loads(layout, network(seed=2), tmp_path / "w.pth")
    assert loads(layout, network(seed=2), tmp_path / "w.pth", weights_key="first") == state_sha256(one)
    layout["second"] = {name: value.clone() for name, value in one.state_dict().items()}
    assert loads(layout, network(seed=2), tmp_path / "w.pth") == state_sha256(one), "they are the same"


def test_a_key_that_leads_nowhere_or_elsewhere_is_refused(one: nn.Module, tmp_path: Path) -> None:
    layout = {"model": one.state_dict(), "moments": {"mean": torch.zeros(3)}}
    with pytest.raises(UserError, match=r"student.weights_key=ema: nothing is there in .*; weights .* under model"):
        loads(layout, network(seed=2), tmp_path / "w.pth", weights_key="ema")
    with pytest.raises(UserError, match=r"not the weights, under moments, of this DigitsCNN.* under model, moments"):
        loads(layout, network(seed=2), tmp_path / "w.pth", weights_key="moments")


@pytest.mark.parametrize(
    "name", ["torchvision/shufflenet_v2_x0_5", "torchvision/mnasnet0_5", "torchvision/densenet121"]
)
def test_weights_of_before_the_counters_load(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    trained, model = create_model(name, 10), create_model(name, 10)
    old = {entry: value for entry, value in trained.state_dict().items() if not entry.endswith("num_batches_tracked")}
    for entry in list(old):  # as torchvision's files of that time have them
        if "denselayer" in entry:
            before = entry.replace("norm1", "norm.1").replace("norm2", "norm.2").replace("conv1", "conv.1")
            old[before.replace("conv2", "conv.2")] = old.pop(entry)
    assert loads(old, model, tmp_path / "w.pth") == state_sha256(trained)


def test_some_counters_without_others_are_refused(tmp_path: Path) -> None:
    state = create_model("resnet8", 10).state_dict()
    del state["bn1.num_batches_tracked"]
    with pytest.raises(UserError, match="1 missing"):
        loads(state, create_model("resnet8", 10), tmp_path / "w.pth")


def test_classifiers_that_only_help_a_training_are_left_out(one: nn.Module, tmp_path: Path) -> None:
    for name in ("aux1", "AuxLogits", "aux_classifier", "auxiliary_head"):
        helped = one.state_dict() | prefixed(f"{name}.", {"fc.weight": torch.rand(10, 3), "conv.0.bias": torch.rand(3)})
        assert loads({"state_dict": helped}, network(seed=2), tmp_path / "w.pth") == state_sha256(one)
    with_own = nn.ModuleDict({"body": nn.Linear(3, 3), "aux": nn.Linear(3, 3)})
    with pytest.raises(UserError, match=r"unexpected \(aux.scale"):
        loads(with_own.state_dict() | {"aux.scale": torch.ones(1)}, with_own, tmp_path / "w.pth")


def headless(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


HEADS: dict[str, Callable[[State], State]] = {
    "other classes": lambda state: state,
    "none": headless,
    "other name": lambda state: headless(state) | {"head.weight": torch.rand(100, 9), "head.bias": torch.rand(100)},
    "more layers": lambda state: headless(state) | {"fc.0.weight": torch.rand(9, 9), "fc.2.weight": torch.rand(4, 9)},
}


@pytest.mark.parametrize("head", HEADS)
def test_a_student_starts_from_a_file_with_another_head(
    head: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, model = network(1, num_classes=100), network(2)
    classifier = {name: value.clone() for name, value in model.state_dict().items() if name.startswith("fc.")}
    layout = {"state_dict": HEADS[head](trained.state_dict())}
    untouched = state_sha256(model)
    with pytest.raises(UserError, match=r"all but the classifier fits: .*student"):
        loads(layout, model, tmp_path / "w.pth")
    assert state_sha256(model) == untouched
    loads(layout, model, tmp_path / "w.pth", new_classifier=True)
    expected = headless(trained.state_dict()) | classifier
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    (line,) = capsys.readouterr().out.splitlines()
    assert "all of" in line
    assert "but the classifier (fc)" in line


@pytest.mark.parametrize(
    ("name", "classifiers"),
    [("timm/deit_tiny_distilled_patch16_224", "head, head_dist"), ("torchvision/squeezenet1_1", "classifier.1")],
)
def test_classifiers_are_told_from_other_layers(
    name: str, classifiers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, _ = on_meta(name)
    state = {entry: torch.zeros((), dtype=v.dtype).expand(v.shape) for entry, v in trained.state_dict().items()}
    model, _ = on_meta(name, 10)
    loads(state, model.to_empty(device="cpu"), tmp_path / "w.pth", new_classifier=True)
    assert f"({classifiers})" in capsys.readouterr().out


def test_a_file_of_another_width_has_no_other_head(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give the model"):
        loads(network(1, "digits_cnn_8").state_dict(), network(2), tmp_path / "w.pth", new_classifier=True)


def test_a_run_takes_the_student_from_a_file_with_another_head(command: Command, tmp_path: Path) -> None:
    trained = network(1, num_classes=100)
    torch.save({"state_dict_ema": trained.state_dict()}, tmp_path / "w.pth")
    options = ("student.model=digits_cnn_4", "student.weights=w.pth", "optimizer.lr=0", "teacher=none", *SHORT)
    outcome = command("kd-train", *options)
    assert outcome.code == 0, outcome.errors
    assert outcome.output.count("all of w.pth but the classifier (fc)") == 1
    kept = network(2)
    load_weights(kept, outcome.run / "student.safetensors")
    assert torch.equal(kept.get_parameter("layer1.0.weight"), trained.get_parameter("layer1.0.weight"))
    again = command("kd-eval", f"run={outcome.run}")
    assert again.code == 0, again.errors
    refused = command("kd-train", "teacher.model=digits_cnn_4", "teacher.weights=w.pth", *SHORT)
    assert refused.code == 2
    assert "knows 100 other classes" in refused.error_lines[0]
    assert "teacher.finetune=whole" in refused.error_lines[0]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["student.weights=[]"], ["student.weights=[]", "null"]),
        (["teacher.weights={a: 1}"], ["teacher.weights=", "train, pretrained"]),
        (["student.weights=3"], ["student.weights=3", "pretrained"]),
        (["student.weights=''"], ["student.weights=", "pretrained"]),
        (["student.model=3"], ["student.model=3", "resnet8x4"]),
        (["teacher.model=[resnet8]"], ["teacher.model=['resnet8']", "resnet8x4"]),
        (["student.model={_target_: 3}"], ["student.model._target_=3", "path of a class"]),
        (["student.adapt=3"], ["student.adapt=3", "_target_"]),
        (["student.weights_key=ema"], ["student.weights_key=ema", "student.weights=null"]),
        (["teacher.weights_key=ema"], ["teacher.weights_key=ema", "teacher.weights=train"]),
        (["teacher.weights=w.pth", "teacher.weights_key=[]"], ["teacher.weights_key=[]", "state_dict_ema"]),
        (["student.weights=w.pth", "student.weights_key=ema"], ["student.weights_key=ema", "under model"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_bad_values_of_these_keys_are_refused(
    command: Command, tmp_path: Path, overrides: list[str], words: list[str]
) -> None:
    torch.save({"model": network(1).state_dict()}, tmp_path / "w.pth")
    outcome = command("kd-train", *overrides)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1, outcome.errors
    assert "Traceback" not in outcome.errors
    assert all(word in outcome.error_lines[0] for word in words), outcome.error_lines[0]
    assert not (tmp_path / "outputs").exists()
