"""What a model costs."""

import pytest
import torch
from torch import nn

from kd_lightning.models import create_model, normalize_inputs
from kd_lightning.models.profile import Profile, profile_models


def profile_model(model: nn.Module, example: torch.Tensor, repeats: int = 1) -> Profile:
    return profile_models({"it": model}, example, repeats)["it"]


def test_a_multiply_add_counts_as_two_and_one_image_counts() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 4, 10))
    profile = profile_model(model, torch.rand(5, 3, 4, 4), repeats=2)
    assert profile.params == 3 * 8 * 9 + 8 + 8 * 16 * 10 + 10
    assert profile.flops == 2 * (3 * 8 * 9 * 16 + 8 * 16 * 10)
    assert profile.latency_ms > 0


def test_the_published_cost_of_resnet20() -> None:
    # He et al. (arXiv:1512.03385): 0.27 M parameters; about 41 M multiply-adds.
    profile = profile_model(create_model("resnet20", 10), torch.rand(1, 3, 32, 32), repeats=1)
    assert profile.params == pytest.approx(0.27e6, rel=0.02)
    assert profile.flops == pytest.approx(2 * 41e6, rel=0.02)


def test_hooks_and_normalisation_change_nothing() -> None:
    model = create_model("resnet8", 10)
    images = torch.rand(2, 3, 32, 32)
    bare = profile_model(model, images, repeats=1)
    normalize_inputs(model, [0.5], [0.5])
    seen: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    hooked = profile_model(model, images, repeats=1)
    assert (hooked.flops, hooked.params) == (bare.flops, bare.params)
    assert seen["layer3"].shape[0] == 1


def test_fused_attention_is_counted() -> None:
    tokens, width = 5, 8
    layer = nn.TransformerEncoderLayer(width, nhead=2, dim_feedforward=16, batch_first=True)
    profile = profile_model(layer, torch.rand(1, tokens, width), repeats=1)
    projections = 4 * tokens * width * width
    attention = 2 * tokens * tokens * width
    feed_forward = 2 * tokens * width * 16
    assert profile.flops == 2 * (projections + attention + feed_forward)
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_compiled_model_is_counted_like_itself() -> None:
    model = create_model("digits_cnn_4", 10, in_channels=1)
    images = torch.rand(1, 1, 8, 8)
    flops = profile_model(model, images, repeats=1).flops
    model.compile(backend="eager")
    assert profile_model(model, images, repeats=1).flops == flops


def test_the_model_is_left_as_it_was() -> None:
    model = create_model("resnet8", 10).train()
    model.get_submodule("layer1").eval()  # a part that its owner froze
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    profile_model(model, torch.rand(2, 3, 8, 8), repeats=1)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


class Noted(nn.Module):
    """A linear layer that notes when it is called."""

    def __init__(self, width: int, name: str, calls: list[str]) -> None:
        super().__init__()
        self.layer, self.name, self.calls = nn.Linear(4, width), name, calls

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append(self.name)
        return self.layer(x)


def test_models_take_turns_while_they_are_timed() -> None:
    calls: list[str] = []
    models = {"wide": Noted(8, "wide", calls), "narrow": Noted(2, "narrow", calls)}
    profiles = profile_models(models, torch.rand(2, 4), repeats=5)
    timed = calls[2:]  # after one call of each for its operations
    assert timed == ["wide", "wide", "narrow", "narrow"] * (len(timed) // 4)
    assert len(timed) // 4 > 5, "warm-up comes before the five repeats"
    assert all(profile.latency_iqr_ms >= 0 for profile in profiles.values())


def test_one_architecture_has_one_latency_wherever_it_stands() -> None:
    models = {
        "teacher": create_model("digits_cnn_8", 10, 1),
        "scratch": create_model("digits_cnn_4", 10, 1),
        "student": create_model("digits_cnn_4", 10, 1),
    }
    profiles = profile_models(models, torch.rand(1, 1, 8, 8), repeats=3)
    assert profiles["scratch"] == profiles["student"]
    assert profiles["scratch"].latency_ms != profiles["teacher"].latency_ms


@pytest.mark.gpu
def test_operations_are_the_same_on_a_gpu() -> None:
    layer = nn.TransformerEncoderLayer(64, nhead=2, dim_feedforward=16, batch_first=True)
    example = torch.rand(1, 32, 64)
    on_cpu, on_gpu = profile_model(layer, example), profile_model(layer.cuda(), example)
    assert on_cpu.flops == on_gpu.flops
    assert next(layer.parameters()).is_cuda
