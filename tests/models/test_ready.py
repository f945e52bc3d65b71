"""Networks of the user's own that are no ordinary modules in float32."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.models import create_model
from kd_lightning.models.ready import ready
from tests.cli.test_bad_input import assert_refused
from tests.conftest import Command
from tests.experiment.test_train import summary

SHORT = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "callbacks.progress_bar=null", "teacher.weights=null")
HERE = "tests.models.test_ready"


class Lazy(nn.Module):
    """Knows its sizes from its first input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.LazyLinear(10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.conv(images)).relu().mean((2, 3)))
        return logits


def half() -> nn.Module:
    return create_model("digits_cnn_8", 10, 1).to(torch.bfloat16)


def scripted(path: str) -> nn.Module:
    module: nn.Module = torch.jit.load(path)
    return module


def test_lazy_layers_get_their_sizes_and_keep_their_statistics() -> None:
    network = Lazy()
    example = torch.rand(2, 1, 8, 8)
    assert ready(network, example) is network
    assert network.training
    assert network.norm.num_batches_tracked == 0
    assert network(example).shape == (2, 10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype) -> None:
    network = create_model("digits_cnn_8", 10, 1)
    before = [weight.to(dtype).float() for weight in network.parameters()]
    after = list(ready(network.to(dtype), torch.rand(2, 1, 8, 8)).parameters())
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize(("role", "name"), [("student", "Lazy"), ("teacher", "half")])
def test_they_train_and_teach(command: Command, role: str, name: str) -> None:
    options = (*SHORT, "scratch=false", f"{role}.model={{_target_: {HERE}.{name}}}", "loss=[ce,kd,attention]")
    if name == "Lazy":
        options = (*options[:-1], "loss=[ce,kd]")
    outcome = command("kd-train", *options)
    assert outcome.code == 0, outcome.errors
    assert command("kd-eval", f"run={outcome.run}").code == 0


def test_torchscript_teaches_by_its_logits(command: Command, tmp_path: Path) -> None:
    original = create_model("digits_cnn_8", 10, 1).eval()
    torch.jit.trace(original, torch.rand(2, 1, 8, 8)).save(str(tmp_path / "teacher.pt"))
    torch.save(original.state_dict(), tmp_path / "teacher.pth")
    options = ("kd-train", *SHORT, "scratch=false")
    script = f"teacher.model={{_target_: {HERE}.scripted, path: {tmp_path / 'teacher.pt'}}}"
    assert command(*options, script, "hydra.run.dir=scripted").code == 0
    assert (
        command(*options, "teacher.model=digits_cnn_8", "teacher.weights=teacher.pth", "hydra.run.dir=plain").code == 0
    )
    ours, theirs = (summary(tmp_path / run)["teacher"]["nll"] for run in ("scripted", "plain"))
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert_refused(
        command(*options[:-1], script, "loss=[ce,kd,attention]", "hydra.run.dir=outputs/x/y"), "teacher", "TorchScript"
    )
