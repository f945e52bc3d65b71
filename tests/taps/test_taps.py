"""Taps: found on any model with the right names, addresses and shapes; read without side effects."""

import copy
import io
import pickle

import pytest
import timm
import torch
from torch import Tensor, nn

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy, HardLabel
from kd_lightning.models import create_model
from kd_lightning.taps import TapReader, find_taps, pair_taps, shapes_of, tap_values

LAYERS = ["layer1", "layer2", "layer3", "layer4"]
VGG11_BN = [f"features.{n}" for n in (2, 6, 13, 20, 27, 28)]
VGG11_SHAPES = [(64, 224, 224), (128, 112, 112), (256, 56, 56), (512, 28, 28), (512, 14, 14), (512, 7, 7)]
VIT_TINY = [f"blocks.{n}:tokens" for n in (2, 5, 8, 11)]
DENSENET = [(256, 56, 56), (512, 28, 28), (1024, 14, 14), (1024, 7, 7)]
MOBILENET_V2 = [(16, 112, 112), (24, 56, 56), (32, 28, 28), (96, 14, 14), (320, 7, 7)]
EFFICIENTNET = [(16, 112, 112), (24, 56, 56), (40, 28, 28), (112, 14, 14), (320, 7, 7)]


def maps(channels: list[int], sizes: list[int]) -> list[tuple[int, ...]]:
    return [(c, s, s) for c, s in zip(channels, sizes, strict=True)]


# model: where pooled is read, its width, the stages' addresses and shapes
ARCHITECTURES: dict[str, tuple[str, int, list[str], list[tuple[int, ...]]]] = {
    "resnet20": ("fc:input", 64, LAYERS[:3], maps([16, 32, 64], [32, 16, 8])),
    "resnet8x4": ("fc:input", 256, LAYERS[:3], maps([64, 128, 256], [32, 16, 8])),
    "wrn_16_2": ("fc:input", 128, ["block1", "block2", "block3"], maps([32, 64, 128], [32, 16, 8])),
    "timm/resnet18": ("fc:input", 512, LAYERS, maps([64, 128, 256, 512], [56, 28, 14, 7])),
    "timm/resnet50": ("fc:input", 2048, LAYERS, maps([256, 512, 1024, 2048], [56, 28, 14, 7])),
    "timm/mobilenetv2_100": ("classifier:input", 1280, [f"blocks.{n}" for n in (0, 1, 2, 4, 6)], MOBILENET_V2),
    "timm/mobilenetv3_small_100": (
        "classifier:input",
        1024,
        [f"blocks.{n}" for n in (0, 1, 3, 5)],
        maps([16, 24, 48, 576], [56, 28, 14, 7]),
    ),
    "timm/efficientnet_b0": ("classifier:input", 1280, [f"blocks.{n}" for n in (0, 1, 2, 4, 6)], EFFICIENTNET),
    "timm/convnext_atto": (
        "head.fc:input",
        320,
        [f"stages.{n}" for n in range(4)],
        maps([40, 80, 160, 320], [56, 28, 14, 7]),
    ),
    "timm/vit_tiny_patch16_224": ("head:input", 192, VIT_TINY, maps([192] * 4, [14] * 4)),
    "timm/deit_tiny_distilled_patch16_224": ("head:input", 192, VIT_TINY, maps([192] * 4, [14] * 4)),
    "timm/mixer_s32_224": ("head:input", 512, [f"blocks.{n}:tokens" for n in (1, 3, 5, 7)], maps([512] * 4, [7] * 4)),
    "timm/swin_tiny_patch4_window7_224": (
        "head.fc:input",
        768,
        [f"layers.{n}:nhwc" for n in range(4)],
        maps([96, 192, 384, 768], [56, 28, 14, 7]),
    ),
    "timm/vgg11_bn": ("head.fc:input", 4096, VGG11_BN, VGG11_SHAPES),
    "timm/densenet121": (
        "classifier:input",
        1024,
        [f"features.{n}" for n in ("denseblock1", "denseblock2", "denseblock3", "norm5")],
        DENSENET,
    ),
    "timm/regnety_002": ("head.fc:input", 368, ["s1", "s2", "s3", "s4"], maps([24, 56, 152, 368], [56, 28, 14, 7])),
    "torchvision/resnet18": ("fc:input", 512, LAYERS, maps([64, 128, 256, 512], [56, 28, 14, 7])),
    "torchvision/resnet50": ("fc:input", 2048, LAYERS, maps([256, 512, 1024, 2048], [56, 28, 14, 7])),
    "torchvision/mobilenet_v2": (
        "classifier.1:input",
        1280,
        [f"features.{n}" for n in (1, 3, 6, 13, 17)],
        MOBILENET_V2,
    ),
    "torchvision/mobilenet_v3_small": (
        "classifier.3:input",
        1024,
        [f"features.{n}" for n in (1, 3, 8, 11)],
        maps([16, 24, 48, 96], [56, 28, 14, 7]),
    ),
    "torchvision/efficientnet_b0": (
        "classifier.1:input",
        1280,
        [f"features.{n}" for n in (1, 2, 3, 5, 7)],
        EFFICIENTNET,
    ),
    "torchvision/convnext_tiny": (
        "classifier.2:input",
        768,
        [f"features.{n}" for n in (1, 3, 5, 7)],
        maps([96, 192, 384, 768], [56, 28, 14, 7]),
    ),
    "torchvision/vit_b_16": (
        "heads.head:input",
        768,
        [f"encoder.layers.encoder_layer_{n}:tokens" for n in (2, 5, 8, 11)],
        maps([768] * 4, [14] * 4),
    ),
    "torchvision/swin_t": (
        "head:input",
        768,
        [f"features.{n}:nhwc" for n in (1, 3, 5, 7)],
        maps([96, 192, 384, 768], [56, 28, 14, 7]),
    ),
    "torchvision/maxvit_t": (
        "classifier.5:input",
        512,
        [f"blocks.{n}" for n in range(4)],
        maps([64, 128, 256, 512], [56, 28, 14, 7]),
    ),
    "torchvision/vgg11_bn": ("classifier.6:input", 4096, VGG11_BN, VGG11_SHAPES),
    "torchvision/densenet121": (
        "classifier:input",
        1024,
        [f"features.denseblock{n}" for n in (1, 2, 3, 4)],
        DENSENET,
    ),
    "torchvision/regnet_y_400mf": (
        "fc:input",
        440,
        [f"trunk_output.block{n}" for n in (1, 2, 3, 4)],
        maps([48, 104, 208, 440], [56, 28, 14, 7]),
    ),
    "torchvision/shufflenet_v2_x0_5": (
        "fc:input",
        1024,
        ["stage2", "stage3", "stage4"],
        maps([48, 96, 192], [28, 14, 7]),
    ),
    "torchvision/squeezenet1_1": (
        "classifier.1:input:mean",
        512,
        [f"features.{n}" for n in (4, 7, 12)],
        maps([128, 256, 512], [55, 27, 13]),
    ),
    "torchvision/googlenet": (
        "fc:input",
        1024,
        ["inception3b", "inception4e", "inception5b"],
        maps([480, 832, 1024], [28, 14, 7]),
    ),
    "torchvision/inception_v3": (
        "fc:input",
        2048,
        ["Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c"],
        maps([64, 192, 288, 768, 2048], [147, 71, 35, 17, 8]),
    ),
}


def on_meta(name: str, num_classes: int = 100) -> tuple[nn.Module, Tensor]:
    size = (3, 299, 299) if "inception" in name else (3, 32, 32) if "/" not in name else (3, 224, 224)
    try:
        with torch.device("meta"):
            model = create_model(name, num_classes)
    except (NotImplementedError, RuntimeError):  # computes its widths or rates with tensors, so is built on the CPU
        model = create_model(name, num_classes).to("meta")
    return model, torch.empty(2, *size, device="meta")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_auto_finds_logits_pooled_and_the_stages(name: str) -> None:
    pooled, width, stages, stage_shapes = ARCHITECTURES[name]
    model, example = on_meta(name)
    taps = find_taps(model, example)
    names = [f"stage{n}" for n in range(1, len(stages) + 1)]
    second_head = {"logits_distilled": "head_dist"} if "distilled" in name else {}
    assert taps == {"logits": "", "pooled": pooled, **second_head, **dict(zip(names, stages, strict=True))}
    assert shapes_of(tap_values(model, example, taps), taps) == {
        "logits": (100,),
        **dict.fromkeys(second_head, (100,)),
        "pooled": (width,),
        **dict(zip(names, stage_shapes, strict=True)),
    }


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("timm/levit_128s", ("head.linear", "head_dist.linear")),  # with a normalisation in front of each
        ("timm/repvit_m1", ("head.head.l", "head.head_dist.l")),
        ("timm/efficientformerv2_s0", ("head", "head_dist")),
    ],
)
def test_of_two_parallel_heads_the_second_gives_the_distilled_logits(name: str, heads: tuple[str, str]) -> None:
    taps = find_taps(*on_meta(name))
    assert (taps["pooled"], taps["logits_distilled"]) == (f"{heads[0]}:input", heads[1])


def small_deit() -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, depth=2, num_classes=5)
    nn.init.normal_(model.head.weight)
    nn.init.normal_(model.head_dist.weight)
    return model


def test_a_distilled_model_trains_two_heads_and_averages_them_afterwards() -> None:
    model, images = small_deit(), torch.randn(2, 3, 32, 32)
    model.set_distilled_training(True)
    reader = TapReader(model, find_taps(model, images))
    values = reader(images)
    tokens = model.forward_features(images)
    torch.testing.assert_close(values["logits"], model.head(tokens[:, 0]))
    torch.testing.assert_close(values["logits_distilled"], model.head_dist(tokens[:, 1]))
    values["logits"].sum().backward(retain_graph=True)
    assert model.head_dist.weight.grad is None
    assert model.head.weight.grad is not None
    model.zero_grad()
    values["logits_distilled"].sum().backward()
    assert model.head.weight.grad is None
    assert model.head_dist.weight.grad.any()
    model.eval()
    values = reader(images)
    tokens = model.forward_features(images)
    heads = model.head(tokens[:, 0]), model.head_dist(tokens[:, 1])
    torch.testing.assert_close(values["logits"], sum(heads) / 2)
    torch.testing.assert_close(values["logits_distilled"], heads[1])


@pytest.mark.parametrize("distils", [True, False])
def test_a_module_trains_the_second_head_apart_where_a_term_takes_it(distils: bool) -> None:
    images, target = torch.randn(2, 3, 32, 32), torch.zeros(2, dtype=torch.long)
    terms = {"ce": Term(CrossEntropy(), ["student.logits", "target"])}
    if distils:
        terms["hard"] = Term(HardLabel(), ["student.logits_distilled", "teacher.logits"])
    module = DistillationModule(small_deit(), create_model("resnet8", 5), terms, example_input=images)
    values = module.signals({"input": images, "target": target})
    heads = module.student.head(module.student.forward_features(images)[:, 0])
    assert torch.allclose(values["student.logits"], heads) == distils
    module.objective(values).total.backward()
    assert all(parameter.grad is not None for parameter in module.student.parameters())


@pytest.mark.parametrize("wrapper", ["normalized", "nested"])
def test_a_wrapped_model_has_the_same_stages(wrapper: str) -> None:
    class Outer(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.scale = nn.Identity()
            self.net = nn.Sequential(net) if wrapper == "nested" else net

        def forward(self, x: Tensor) -> Tensor:
            return self.net(self.scale((x - 0.5) / 0.2))

    prefix = "net.0." if wrapper == "nested" else "net."
    for name in ("timm/swin_tiny_patch4_window7_224", "torchvision/mobilenet_v2", "torchvision/vit_b_16"):
        model, example = on_meta(name)
        expected = {tap: address and prefix + address for tap, address in find_taps(model, example).items()}
        assert find_taps(Outer(model), example) == expected


class SqueezeExcite(nn.Module):
    """A residual block with an inner expansion and a squeeze gate, on a stride."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 4 * channels, 1)
        self.depthwise = nn.Conv2d(4 * channels, 4 * channels, 3, 2, 1, groups=4 * channels)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4 * channels, 4 * channels, 1), nn.Sigmoid())
        self.project = nn.Conv2d(4 * channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.expand(x))
        return self.project(x * self.gate(x))


def test_gates_expansions_and_side_branches_are_no_stages() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
            self.attention = nn.Conv2d(8, 1, 1)
            self.blocks = nn.ModuleList([SqueezeExcite(8), SqueezeExcite(16)])
            self.unused_head = nn.Conv2d(32, 7, 1)
            self.classify = nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            x = x * self.attention(x).sigmoid()
            for block in self.blocks:
                x = block(x)
            self.unused_head(x)
            return self.classify(x.mean((2, 3)))

    taps = find_taps(Net(), torch.randn(2, 3, 16, 16))
    assert taps == {
        "logits": "",
        "pooled": "classify:input",
        "stage1": "stem",
        "stage2": "blocks.0",
        "stage3": "blocks.1",
    }


def conv(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(
            nn.Sequential(
                *conv(3, 4), nn.MaxPool2d(2), *conv(4, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
            ),
            {"logits": "", "pooled": "9:input", "stage1": "2", "stage2": "6"},
            id="a flat sequence: behind the activation, whose work in place would alter what is in front of it",
        ),
        pytest.param(
            nn.Sequential(nn.Flatten(), nn.Linear(768, 9), nn.ReLU(), nn.Linear(9, 5)),
            {"logits": "", "pooled": "3:input"},
            id="a perceptron has no maps",
        ),
        pytest.param(
            nn.Sequential(*conv(3, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            {"logits": "", "stage1": "2"},
            id="no linear layer at the end",
        ),
        pytest.param(nn.Sequential(nn.Flatten()), {"logits": ""}, id="no weights"),
    ],
)
def test_auto_on_small_models_of_ones_own(model: nn.Module, expected: dict[str, str]) -> None:
    example = torch.randn(2, 3, 16, 16)
    taps = find_taps(model, example)
    assert taps == expected
    TapReader(model, taps)(example)


def test_a_signal_in_time_has_no_stages_that_would_be_guesses() -> None:
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 5))
    assert find_taps(model, torch.randn(2, 3, 50)) == {"logits": "", "pooled": "4:input"}


def test_a_reused_activation_is_not_tapped_where_a_later_call_would_overwrite_it() -> None:
    class Reuse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, 2, padding=1)
            self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.conv2(self.relu(self.conv1(x).clone())))
            return self.fc(x.mean((2, 3)))

    model, example = Reuse(), torch.randn(2, 3, 8, 8)
    taps = find_taps(model, example)
    assert (taps["stage1"], taps["stage2"]) == ("conv1", "relu")
    assert shapes_of(tap_values(model, example, taps), taps)["stage1"] == (4, 8, 8)


def test_text_models_have_evenly_spaced_blocks_as_sequences() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(11, 8)
            self.encoder = nn.TransformerEncoder(layer, 8, enable_nested_tensor=False)
            self.head = nn.Linear(8, 3)

        def forward(self, ids: Tensor) -> dict[str, Tensor]:
            return {"hidden": ids, "logits": self.head(self.encoder(self.embed(ids))[:, 0])}

    taps = find_taps(Text(), torch.zeros(2, 6, dtype=torch.long))
    assert [address for tap, address in taps.items() if tap.startswith("stage")] == [
        f"encoder.layers.{n}" for n in (1, 3, 5, 7)
    ]
    shapes = shapes_of(tap_values(Text(), torch.zeros(2, 6, dtype=torch.long), taps), taps)
    assert shapes == {"logits": (3,), "pooled": (8,), **{f"stage{n}": (6, 8) for n in (1, 2, 3, 4)}}


def test_finding_leaves_the_model_and_the_random_state_as_they_were() -> None:
    model = create_model("resnet8", 10)
    model.layer1.eval()
    model.layer2.register_forward_hook(lambda *_: torch.rand(1) and None)
    state, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    random = torch.get_rng_state()
    find_taps(model, torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == modes
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.unused = nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.bn(self.conv(x))).mean((2, 3)))


TAPS = {"logits": "", "pooled": "fc:input", "conv": "conv", "map": "relu"}


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def expected_of(model: Small, x: Tensor) -> dict[str, Tensor]:
    conv = model.conv(x)
    map_ = torch.relu(model.bn(conv))
    return {"logits": model.fc(map_.mean((2, 3))), "pooled": map_.mean((2, 3)), "conv": conv, "map": map_}


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(got) == list(expected)
    for name in expected:
        torch.testing.assert_close(got[name], expected[name])


def test_reads_inputs_outputs_and_the_models_own_output_with_gradients(images: Tensor) -> None:
    model = Small().eval()
    got = TapReader(model, TAPS)(images)
    assert_same(got, expected_of(model, images))
    got["pooled"].sum().backward()
    assert model.conv.weight.grad is not None
    assert model.fc.weight.grad is None


@pytest.mark.parametrize("mode", ["no_grad", "inference", "autocast"])
def test_reads_under_every_mode(images: Tensor, mode: str) -> None:
    contexts = {
        "no_grad": torch.no_grad(),
        "inference": torch.inference_mode(),
        "autocast": torch.autocast("cpu", dtype=torch.bfloat16),
    }
    model = Small().eval()
    reader = TapReader(model, TAPS)
    with contexts[mode]:
        assert_same(reader(images), expected_of(model, images))


def test_reads_a_model_compiled_after_the_taps_were_attached(images: Tensor) -> None:
    model = Small().eval()
    reader = TapReader(model, TAPS)
    model.compile(backend="eager", fullgraph=True)
    for _ in range(2):
        assert_same(reader(images), expected_of(model, images))
        torch.testing.assert_close(model(images), expected_of(model, images)["logits"])


def test_reads_the_layouts() -> None:
    model = nn.Sequential(nn.Identity())
    nhwc, tokens = torch.randn(2, 3, 4, 5), torch.randn(2, 2 + 9, 4)
    read = lambda address, x: TapReader(model, {"a": address})(x)["a"]  # noqa: E731
    assert torch.equal(read("0:nhwc", nhwc), nhwc.movedim(3, 1))
    assert torch.equal(read("0:input:nhwc", nhwc), nhwc.movedim(3, 1))
    assert torch.equal(read(":mean", nhwc), nhwc.flatten(2).mean(2))
    a_map = read("0:tokens", tokens)
    assert a_map.shape == (2, 4, 3, 3)
    assert torch.equal(a_map[:, :, 1, 2], tokens[:, 2 + 5])


def test_a_module_used_twice_gives_its_last_output_and_a_keyword_is_an_input() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(input=self.fc(x))

    model, x = Twice(), torch.randn(2, 3)
    got = TapReader(model, {"logits": "", "out": "fc", "in": "fc:input"})(x)
    assert torch.equal(got["out"], got["logits"])
    assert torch.equal(got["in"], model.fc(x))


def test_hooks_hold_nothing_between_runs_and_leave_the_model_when_removed(images: Tensor) -> None:
    model = Small().eval()
    reader = TapReader(model, TAPS)
    reader(images)
    model(images)
    assert reader._record.values == {}
    assert set(model.state_dict()) == set(Small().state_dict())
    reader.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with pytest.raises(UserError):
        reader(images)


def test_an_error_inside_the_model_leaves_nothing_behind(images: Tensor) -> None:
    reader = TapReader(Small(), TAPS)
    with pytest.raises(RuntimeError):
        reader(images[:, :2])
    assert reader._record.values == {}
    assert not reader._record.active


def test_copies_and_pickles_of_model_and_reader_stand_alone(images: Tensor) -> None:
    model = Small().eval()
    reader = TapReader(model, TAPS)
    for both in (
        copy.deepcopy({"model": model, "reader": reader}),
        pickle.loads(pickle.dumps({"model": model, "reader": reader})),
    ):
        assert both["reader"].model is both["model"]
        assert both["model"] is not model
        nn.init.zeros_(both["model"].fc.weight)
        assert_same(both["reader"](images), expected_of(both["model"], images))
        assert_same(reader(images), expected_of(model, images))
    alone = copy.deepcopy(model)
    torch.testing.assert_close(alone(images), model(images))
    torch.save(model.state_dict(), io.BytesIO())


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("con", ["taps.x=con", "no module", "conv"]),
        ("layer9.4", ["taps.x=layer9.4", "no module", "conv, bn"]),
        ("conv:nchw", ["taps.x=conv:nchw", ":nhwc|:tokens"]),
        ("conv:tokens:nhwc", ["taps.x=conv:tokens:nhwc"]),
        ("unused", ["taps.x=unused", "'unused'", "no tensor in this run"]),
        ("fc:nhwc", ["taps.x=fc:nhwc", "4 dimensions", "(2, 5)"]),
        ("bn", ["taps.x=bn", "in place", "after the tap"]),
    ],
)
def test_bad_taps_are_refused_in_one_line(images: Tensor, address: str, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        TapReader(Small().eval(), {"x": address})(images)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


def test_pairs_by_spatial_size_in_order() -> None:
    student = {"logits": (10,), "pooled": (8,), "stage1": (4, 32, 32), "stage2": (8, 16, 16), "stage3": (8, 8, 8)}
    teacher = {"logits": (10,), "stage1": (9, 64, 64), "stage2": (9, 32, 32), "stage3": (9, 8, 8), "stage4": (9, 8, 8)}
    assert pair_taps(student, teacher) == [("logits", "logits"), ("stage1", "stage2"), ("stage3", "stage4")]
    vit = {"logits": (10,), **{f"stage{n}": (6, 14, 14) for n in (1, 2, 3, 4)}}
    assert pair_taps(vit, vit) == [(name, name) for name in vit]
    assert pair_taps(student, vit) == [("logits", "logits")]
    assert pair_taps({"stage1": (8, 14, 14)}, vit) == [("stage1", "stage4")]
    text = {"logits": (3,), "stage1": (6, 8), "stage2": (6, 8)}
    assert pair_taps(text, {"stage1": (6, 16)}) == [("stage2", "stage1")]
