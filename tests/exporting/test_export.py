"""Any network as one file: what is refused, and what a file is compared with."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.exporting import export
from kd_lightning.exporting.alone import Alone
from kd_lightning.exporting.comparison import Comparison
from kd_lightning.exporting.formats import FORMATS, formats_of, load_program
from kd_lightning.exporting.program import traced
from tests.exporting.odd_networks import odd_network

IMAGES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("oddity", "told"),
    [
        ("bessel", r"ONNX has no operator prims\.bessel_j0, which module 1\.0 \(Bessel\) runs; replace it there"),
        ("branching", r"module 1\.0 \(Branching\) cannot be traced \(it decides by the values of a tensor\)"),
        ("counting", r"the network fixes the size of a batch"),
        ("forgetful", r"its outputs differ from the network's by .*, and rounding explains 0\.0001"),
    ],
)
def test_what_cannot_be_exported_is_told_and_leaves_nothing(oddity: str, told: str, tmp_path: Path) -> None:
    network = odd_network(oddity)
    network[3].eval()  # as it is frozen
    with pytest.raises(UserError, match=rf"^path={tmp_path}/out/odd\.onnx: {told}"):
        export(network, IMAGES[:2], tmp_path / "out" / "odd.onnx")
    assert list(tmp_path.iterdir()) == []
    assert [module.training for module in network] == [True, True, True, False]


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end in \.onnx or \.pt2"):
        export(nn.Flatten(), IMAGES, tmp_path / "network.pth")
    with pytest.raises(UserError, match="give two or more"):
        export(nn.Flatten(), IMAGES[:1], tmp_path / "network.pt2")
    for given in ("", "onnx,tflite", 3):
        with pytest.raises(UserError, match=rf"^format={given}: "):
            formats_of(given)
    assert formats_of("torch_export, onnx,onnx") == [FORMATS["torch_export"], FORMATS["onnx"]]


class Named(nn.Module):
    """Takes a mapping, and gives its logits among other things."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(20, 8), nn.Linear(8, 3)

    def forward(self, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        kept = self.words(tokens) * mask[..., None]
        pooled = kept.sum(1) / mask.sum(1, keepdim=True)
        return {"pooled": pooled, "logits": self.head(pooled)}


def test_a_mapping_goes_in_and_its_logits_come_out_for_texts_of_any_length(tmp_path: Path) -> None:
    network = Named().eval()
    example = {"tokens": torch.randint(20, (4, 5)), "mask": torch.ones(4, 5, dtype=torch.int64)}
    done = export(network, example, tmp_path / "texts.pt2", softmax=True, metadata={"language": "none"})
    assert (done.comparison.same, done.comparison.samples) == (4, 4)
    loaded = load_program(done.path)
    assert loaded.metadata == {"language": "none"}
    longer = {"tokens": torch.randint(20, (1, 9)), "mask": torch.ones(1, 9, dtype=torch.int64)}
    given = loaded.run(tuple(longer.values()))
    torch.testing.assert_close(given, network(**longer)["logits"].softmax(1).detach())


class TwoHeads(nn.Module):
    """Gives the logits of two heads, and does not say which are its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 3), nn.Linear(64, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.first(images.flatten(1)), self.second(images.flatten(1))


def test_of_several_outputs_the_named_one_is_exported(tmp_path: Path) -> None:
    network = TwoHeads().eval()
    program = traced(Alone(network, tap="second"), [IMAGES], "format=onnx").module()
    torch.testing.assert_close(program(IMAGES[:1]), network(IMAGES[:1])[1])
    with pytest.raises(UserError, match="gives several outputs"):
        export(network, IMAGES, tmp_path / "network.pt2")


def test_outputs_are_compared_by_their_difference_and_by_class() -> None:
    expected = torch.tensor([[2.0, 1.0, -math.inf], [1.0, 1.5, 0.0], [3.0, 3.00001, 0.0]])
    given = expected + torch.tensor([[0.0, 4e-5, 0.0], [0.0, 0.0, 0.0], [0.0, -4e-5, 0.0]])
    found = Comparison.of(expected, given, of_classes=True)
    assert found.largest == pytest.approx(4e-5, rel=0.02)
    assert (found.samples, found.same, found.decided) == (3, 2, 2)
    assert found.bound == pytest.approx(1e-4 * 3.00001)
    found.check("format=onnx")
    numbers = Comparison.of(expected[:, :2], given[:, :2], of_classes=False)
    assert numbers.same is None
    for wrong in (given + 0.001, given * math.nan):
        with pytest.raises(UserError, match=r"^format=onnx: its outputs differ .* nothing was written"):
            Comparison.of(expected, wrong, of_classes=True).check("format=onnx")


def test_the_function_is_found_whatever_was_imported_before() -> None:
    import kd_lightning.exporting.writing
    import kd_lightning.inference.exports

    assert kd_lightning.exporting.export is kd_lightning.exporting.writing.export
    assert callable(kd_lightning.exporting.export)
