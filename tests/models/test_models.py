"""Models by name: what is built, what is refused, how inputs are normalised."""

import copy
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.models import (
    check_model_name,
    create_model,
    default_input_size,
    has_pretrained,
    normalize_inputs,
    pretrained_normalization,
    pretrained_num_classes,
)
from kd_lightning.taps import TapReader, find_taps

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "cifar_models.json"
CIFAR = [
    *("resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet8x4", "resnet32x4"),
    *("wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2", "vgg8", "vgg11", "vgg13", "vgg16", "vgg19", "ResNet50"),
    *("MobileNetV2", "ShuffleV1", "ShuffleV2"),
]
DIGITS = [f"digits_cnn_{width}" for width in (4, 8, 16, 32, 64)]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def golden_entry(position: int, name: str, shape: list[int]) -> Tensor:
    a, n = torch.arange(math.prod(shape), dtype=torch.float64), position
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var"):
        value = 1 + 0.1 * torch.cos(0.3 * a + n)
    elif name.endswith("running_mean"):
        value = 0.05 * torch.sin(0.7 * a + n)
    elif len(shape) == 1 and name.endswith("weight"):
        value = 1 + 0.1 * torch.sin(0.9 * a + n)
    elif len(shape) == 1:
        value = 0.05 * torch.cos(0.5 * a + n)
    else:
        value = torch.sin(1.7 * a + n) * 1.4 * math.sqrt(2 / math.prod(shape[1:]))
    return value.view(shape)


@pytest.mark.skipif(not GOLDEN.exists(), reason="no reference values")
@pytest.mark.parametrize("name", CIFAR)
def test_cifar_models_agree_with_the_reference(name: str) -> None:
    reference = json.loads(GOLDEN.read_text())[name]
    entries = reference["state_dict"]
    model = create_model(name, num_classes=100).double().eval()
    state = {entry: golden_entry(n, entry, shape) for n, (entry, shape) in enumerate(entries.items())}
    assert list(model.state_dict()) == list(entries)
    model.load_state_dict(state, strict=True)
    images = torch.sin(0.013 * torch.arange(2 * 3 * 32 * 32, dtype=torch.float64)).view(2, 3, 32, 32)
    taps = find_taps(model, images)
    with torch.no_grad():
        values = TapReader(model, taps)(images)
    logits, pooled = values.pop("logits"), values.pop("pooled")
    expected = torch.tensor(reference["logits_first8"], dtype=torch.float64)
    torch.testing.assert_close(logits[:, :8], expected, rtol=0, atol=1e-6)
    assert logits.sum().item() == pytest.approx(reference["logits_sum"], abs=1e-6)
    assert sum(p.numel() for p in model.parameters()) == reference["params"]
    assert list(values) == [f"stage{n}" for n in range(1, len(values) + 1)]
    assert [list(value.shape[1:]) for value in (*values.values(), pooled)] == reference["feature_shapes"][1:]
    follows_relu = name not in ("MobileNetV2",) and not name.startswith("wrn")
    assert all(bool((value >= 0).all()) == follows_relu for value in values.values())


@pytest.mark.skipif(not GOLDEN.exists(), reason="no reference values")
def test_every_model_of_the_reference_is_there() -> None:
    assert set(json.loads(GOLDEN.read_text())) == set(CIFAR)


def test_mobilenet_v1_has_the_published_size_and_stages() -> None:
    model = create_model("mobilenet_v1", 1000).eval()
    entries = list(model.state_dict())
    assert sum(p.numel() for p in model.parameters()) == 4_231_976
    assert (entries[0], entries[-1]) == ("model.0.0.weight", "fc.bias")
    assert {"model.0.1.running_var", "model.1.0.weight", "model.13.3.weight", "model.13.4.bias"} <= set(entries)
    images = torch.randn(1, *default_input_size("mobilenet_v1"))
    with torch.no_grad():
        values = TapReader(model, find_taps(model, images))(images)
    stages = {"stage1": (128, 56, 56), "stage2": (256, 28, 28), "stage3": (512, 14, 14), "stage4": (1024, 7, 7)}
    shapes = {name: tuple(value.shape[1:]) for name, value in values.items()}
    assert shapes == {"logits": (1000,), "pooled": (1024,), **stages}
    assert all(bool((values[stage] >= 0).all()) for stage in stages)


ONE_OF_EACH = ["resnet8", "wrn_16_1", "vgg8", "MobileNetV2", "ShuffleV1", "ShuffleV2", "mobilenet_v1", "digits_cnn_4"]


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("size", [8, 28, 33])
def test_own_models_take_any_channels_and_size(name: str, channels: int, size: int) -> None:
    model = create_model(name, num_classes=7, in_channels=channels)
    assert model(torch.rand(2, channels, size, size)).shape == (2, 7)


@pytest.mark.parametrize("name", DIGITS)
def test_digits_models_have_three_stages(name: str) -> None:
    model = create_model(name, num_classes=10, in_channels=1).eval()
    width, shapes = int(name.rsplit("_", 1)[1]), {}
    for stage in ("layer1", "layer2", "layer3"):
        hook = lambda _m, _i, out, stage=stage: shapes.update({stage: tuple(out.shape[1:])})  # noqa: E731
        model.get_submodule(stage).register_forward_hook(hook)
    assert model(torch.rand(2, *default_input_size(name))).shape == (2, 10)
    assert shapes == {"layer1": (width, 8, 8), "layer2": (2 * width, 4, 4), "layer3": (4 * width, 2, 2)}


@pytest.mark.parametrize("name", ["resnet8", "resnet8x4", "digits_cnn_8"])
def test_stages_end_after_their_relu(name: str) -> None:
    model = create_model(name, num_classes=10, in_channels=3)
    outputs: list[Tensor] = []
    for stage in ("layer1", "layer2", "layer3"):
        model.get_submodule(stage).register_forward_hook(lambda _m, _i, out: outputs.append(out))
    model(torch.randn(2, 3, 16, 16))
    assert all(bool((out >= 0).all()) for out in outputs)


@pytest.mark.parametrize("name", [*CIFAR, "mobilenet_v1", "digits_cnn_8"])
def test_every_relu_is_a_module_that_overwrites_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=10).eval()
        images = torch.rand(1, 3, 32, 32)
    assert not any(module.inplace for module in model.modules() if isinstance(module, nn.ReLU))
    calls: list[object] = []
    relu = torch.nn.functional.relu
    monkeypatch.setattr(torch.nn.functional, "relu", lambda x, inplace=False: calls.append(x) or relu(x, inplace))
    inside = [0]
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda *_: inside.__setitem__(0, inside[0] + 1))
    model(images)
    assert len(calls) == inside[0] > 0


def test_timm_and_torchvision_models_are_built_by_name() -> None:
    assert create_model("timm/test_resnet", 5, in_channels=1)(torch.rand(2, 1, 64, 64)).shape == (2, 5)
    assert create_model("torchvision/mobilenet_v3_small", 5).eval()(torch.rand(1, 3, 64, 64)).shape == (1, 5)


def test_torchvision_transformers_are_built_for_their_default_size() -> None:
    with torch.device("meta"):
        positions = create_model("torchvision/vit_h_14", 5).get_parameter("encoder.pos_embedding")
    assert positions.shape[1] == (default_input_size("torchvision/vit_h_14")[1] // 14) ** 2 + 1


def test_googlenet_returns_logits_only_while_training() -> None:
    assert create_model("torchvision/googlenet", 5)(torch.rand(2, 3, 64, 64)).shape == (2, 5)


def test_what_makes_a_network_of_ones_own_is_called_as_it_stands() -> None:
    model = create_model(lambda: nn.Linear(3, 2), num_classes=10)
    assert isinstance(model, nn.Linear)
    assert model.out_features == 2


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("resnet8x5", ["resnet8x4", "resnet8"]),
        ("resnet50", ["timm/resnet50", "torchvision/resnet50"]),
        ("tim/resnet18", ["timm/resnet18", "torchvision/resnet18"]),
        ("timm/resnt18", ["timm/resnet18"]),
        ("timm/resnet50.a1_in1", ["timm/resnet50.a1_in1k"]),
        ("timm/resnet50.", ["timm/resnet50.a1_in1k"]),
        ("torchvision/resnet19", ["torchvision/resnet18"]),
        ("torchvision/fcn_resnet50", ["torchvision/resnet50"]),  # segments, does not classify
        ("qqq", ["resnet8x4", "timm/NAME", "torchvision/NAME", "_target_"]),
    ],
)
def test_an_unknown_name_is_refused_with_close_matches(name: str, offered: list[str]) -> None:
    with pytest.raises(UserError) as error:
        check_model_name(name, "teacher.model")
    assert one_line(error).startswith(f"teacher.model={name}: no such ")
    assert all(word in one_line(error) for word in offered)
    with pytest.raises(UserError):
        create_model(name, 10)


@pytest.mark.parametrize("name", ["", None, 3])
def test_what_is_no_name_is_refused(name: object) -> None:
    with pytest.raises(UserError, match=r"^name="):
        check_model_name(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*CIFAR, *DIGITS, "timm/resnet50", "timm/resnet50.a1_in1k", "torchvision/resnet18"])
def test_known_names_pass(name: str) -> None:
    check_model_name(name)


@pytest.mark.parametrize(
    ("name", "classes", "normalization", "size"),
    [
        ("resnet8x4", None, None, (3, 32, 32)),
        ("digits_cnn_8", None, None, (1, 8, 8)),
        ("ShuffleV2", None, None, (3, 32, 32)),
        ("mobilenet_v1", None, None, (3, 224, 224)),
        ("timm/resnet50", 1000, IMAGENET, (3, 224, 224)),
        ("timm/vit_tiny_patch16_384.augreg_in21k_ft_in1k", 1000, ((0.5,) * 3, (0.5,) * 3), (3, 384, 384)),
        ("torchvision/inception_v3", 1000, IMAGENET, (3, 299, 299)),
        (nn.Identity, None, None, (3, 224, 224)),
    ],
)
def test_what_is_known_of_a_model_before_it_is_built(
    name: str, classes: int | None, normalization: object, size: tuple[int, int, int]
) -> None:
    assert has_pretrained(name) == (classes is not None)
    assert pretrained_num_classes(name) == classes
    assert pretrained_normalization(name) == normalization
    assert default_input_size(name) == size


@pytest.mark.parametrize("name", ["resnet8x4", "digits_cnn_8", "timm/botnet50ts_256", nn.Identity])
def test_pretrained_weights_that_nobody_published_are_refused(name: str) -> None:
    with pytest.raises(UserError) as error:
        create_model(name, 10, pretrained=True, key="teacher.model")
    assert one_line(error).startswith("teacher.weights=pretrained: ")
    assert "a file path" in one_line(error)
    assert "teacher.weights=train" in one_line(error)


def test_torchvision_refuses_other_channels_in_one_line() -> None:
    with pytest.raises(UserError) as error:
        create_model("torchvision/resnet18", 10, in_channels=1)
    assert all(word in one_line(error) for word in ("name=torchvision/resnet18", "data has 1", "timm/resnet18"))


@pytest.mark.parametrize("num_classes", [1000, 10])
@pytest.mark.parametrize(
    ("name", "left_out"),
    [("squeezenet1_1", ("classifier",)), ("googlenet", ("fc", "aux")), ("mnasnet0_5", ("classifier",))],
)
def test_torchvision_weights_are_loaded_but_for_a_classifier_of_another_size(
    name: str, left_out: tuple[str, ...], num_classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import get_model, get_model_weights

    options = {"init_weights": False} if name == "googlenet" else {}
    published = get_model(name, weights=None, **options).state_dict()
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))  # a cache that holds the download already
    (tmp_path / "checkpoints").mkdir()
    torch.save(published, tmp_path / "checkpoints" / Path(get_model_weights(name).DEFAULT.url).name)
    model = create_model(f"torchvision/{name}", num_classes, pretrained=True)
    loaded = model.state_dict()
    for entry, value in published.items():
        if not entry.startswith(left_out) or (num_classes == 1000 and not entry.startswith("aux")):
            torch.testing.assert_close(loaded[entry], value, rtol=0, atol=0)
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, num_classes)


def test_a_failed_download_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def fail(*_args: object, **_options: object) -> None:
        raise OSError("Name or service not known\nretry")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(UserError) as error:
        create_model("timm/resnet18", 10, pretrained=True, key="teacher.model")
    assert all(word in one_line(error) for word in ("teacher.weights=pretrained", "timm/resnet18", "file path"))
    with pytest.raises(OSError, match="service"):  # not a download: an error of the program's
        create_model("timm/resnet18", 10)


def test_normalized_models_take_floats_between_0_and_1() -> None:
    model = create_model("resnet8", 10).eval().double()
    images, mean, std = torch.rand(2, 3, 16, 16, dtype=torch.float64), [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    expected = model((images - images.new_tensor(mean).view(3, 1, 1)) / images.new_tensor(std).view(3, 1, 1))
    keys = list(model.state_dict())
    assert normalize_inputs(model, mean, std) is model
    torch.testing.assert_close(model(images), expected)
    assert list(model.state_dict()) == keys


def test_normalizing_again_replaces() -> None:
    model = normalize_inputs(nn.Identity(), [0.9], [0.1])
    images = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(normalize_inputs(model, [0.5], [0.25])(images), (images - 0.5) / 0.25)


def test_a_deep_copy_normalises_by_its_own_statistics() -> None:
    model = normalize_inputs(nn.Identity(), [0.5], [0.25])
    twin = normalize_inputs(copy.deepcopy(model), [0.0], [1.0])
    images = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(twin(images), images)
    torch.testing.assert_close(model(images), (images - 0.5) / 0.25)


def test_normalisation_survives_compilation_in_place() -> None:
    model = normalize_inputs(create_model("digits_cnn_4", 10, in_channels=1).eval(), [0.3], [0.4])
    images = torch.rand(2, 1, 8, 8)
    expected = model(images)
    model.compile(backend="eager")
    torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_normalisation_keeps_the_type_of_the_images(dtype: torch.dtype) -> None:
    images = torch.rand(2, 3, 4, 4).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert normalize_inputs(nn.Identity(), *IMAGENET)(images).dtype == dtype


@pytest.mark.parametrize(
    ("images", "words"),
    [(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "255"), (torch.rand(1, 1, 4, 4), "1 channels")],
)
def test_normalisation_refuses_images_that_it_would_spoil(images: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        normalize_inputs(nn.Identity(), *IMAGENET)(images)


@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.5, 0.5]), ([], []), ([0.5], [0.0])])
def test_bad_statistics_are_refused(mean: list[float], std: list[float]) -> None:
    with pytest.raises(ValueError, match="std"):
        normalize_inputs(nn.Identity(), mean, std)


def test_importing_the_models_imports_no_model_library() -> None:
    heavy = "{'timm', 'torchvision', 'hydra', 'lightning'}"
    code = f"import sys, kd_lightning.models, kd_lightning.models.profile; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
