"""Conversions are kept as plain values and made again; a converted network is saved, found and used as any other."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kd_lightning import DistillationModule
from kd_lightning.conversions import (
    Conversion,
    Entry,
    ReplaceHead,
    conversions_of,
    converted,
    load_converted,
    read_conversions,
    replayed,
    stored_conversions,
)
from kd_lightning.errors import UserError
from kd_lightning.models import create_model, load_weights, normalize_inputs, save_weights, stored_normalization
from kd_lightning.store.folders import cache_dir
from tests.conftest import Command
from tests.conversions.pruning import Divide, PruneChannels

HERE = "tests.conversions.pruning"
PRUNE, DIVIDE = f"{HERE}.PruneChannels", f"{HERE}.Divide"
IMAGES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
BATCHES = [{"input": IMAGES, "target": torch.arange(4)}]


def trained(name: str = "digits_cnn_4", channels: int = 1, classes: int = 10) -> nn.Module:
    """A network whose statistics are not those of a fresh one, which normalises its images."""
    torch.manual_seed(7)
    network = normalize_inputs(create_model(name, classes, channels), [0.3] * channels, [0.4] * channels)
    network(torch.rand(8, channels, 8, 8) if name.startswith("digits") else torch.rand(4, channels, 32, 32))
    return network.eval()


def several() -> tuple[nn.Module, list[Entry]]:
    network: nn.Module = trained()
    for conversion in (PruneChannels(5), ReplaceHead(6), Divide()):
        network, _ = converted(network, conversion, BATCHES, {})
    return network, conversions_of(network)


def test_the_network_itself_stays_as_it_is() -> None:
    network = trained()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    pruned, entry = converted(network, PruneChannels(5), BATCHES, {})
    rebuilt, _ = converted(network, ReplaceHead(3), BATCHES, {})
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert conversions_of(network) == []
    kept = entry["record"]["kept"]
    assert torch.equal(pruned.layer3[0].weight, network.layer3[0].weight[kept])  # type: ignore[index, union-attr]
    assert torch.equal(pruned.fc.weight, network.fc.weight[:, kept])  # type: ignore[index, union-attr]
    assert torch.equal(rebuilt.layer3[0].weight, network.layer3[0].weight)  # type: ignore[index, union-attr]
    assert entry == {"conversion": PRUNE, "arguments": {"channels": 5}, "record": {"kept": kept}}


def test_one_after_the_other_is_saved_and_made_again_with_equal_outputs(tmp_path: Path) -> None:
    network, entries = several()
    assert network(IMAGES).shape == (4, 6)
    assert [entry["conversion"] for entry in entries] == [PRUNE, "kd_lightning.conversions.ReplaceHead", DIVIDE]
    file = tmp_path / "converted.safetensors"
    metadata = {**stored_normalization(network), **stored_conversions(network)}
    assert set(metadata) == {"mean", "std", "conversions"}, "the network around the first one normalises"
    save_weights(network, file, metadata)
    fresh = create_model("digits_cnn_4", 10, 1)
    again = load_converted(fresh, file, trusted=[PRUNE, DIVIDE])
    assert conversions_of(again) == entries
    normalize_inputs(again.eval(), json.loads(metadata["mean"]), json.loads(metadata["std"]))
    assert torch.equal(again(IMAGES), network(IMAGES))
    with pytest.raises(UserError, match=r"file is of a converted network: kd_lightning.conversions.load_converted"):
        load_weights(create_model("digits_cnn_4", 10, 1), file)


@pytest.mark.parametrize(
    ("name", "kind"), [("resnet8", "Linear"), ("MobileNetV2", "Linear"), ("vgg8", "Linear"), ("wrn_16_1", "Linear")]
)
def test_heads_of_published_networks(name: str, kind: str) -> None:
    network, images = trained(name, 3, 20), torch.rand(2, 3, 32, 32)
    rebuilt, entry = converted(network, ReplaceHead(7), [(images, None)], {})
    assert rebuilt(images).shape == (2, 7)
    assert (entry["record"]["kind"], entry["record"]["outputs"]) == (kind, 7)
    fresh = replayed(create_model(name, 20, 3), [entry])
    assert {n: v.shape for n, v in fresh.state_dict().items()} == {n: v.shape for n, v in rebuilt.state_dict().items()}
    names = [name for name in network.state_dict() if not name.startswith(entry["record"]["path"])]
    assert all(torch.equal(rebuilt.state_dict()[name], network.state_dict()[name]) for name in names)


@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_as_head_and_none_but_its_seed_decide(bias: bool) -> None:
    def make() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 10, 1, bias=bias), nn.Flatten(), nn.Linear(1, 1)
        )[:3]

    network = nn.Sequential(*make(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    first, entry = converted(network, ReplaceHead(3, seed=1), BATCHES, {})
    assert first(IMAGES).shape == (4, 3)
    assert entry["record"] == {"path": "2", "kind": "Conv2d", "inputs": 6, "outputs": 3, "bias": bias}
    torch.manual_seed(99)
    second, _ = converted(network, ReplaceHead(3, seed=1), BATCHES, {})
    other, _ = converted(network, ReplaceHead(3, seed=2), BATCHES, {})
    assert torch.equal(first[2].weight, second[2].weight)  # type: ignore[index]
    assert not torch.equal(first[2].weight, other[2].weight)  # type: ignore[index]


def test_on_the_meta_device_and_in_double_precision() -> None:
    network = trained().double()
    rebuilt, entry = converted(network, ReplaceHead(3), [{"input": IMAGES.double()}], {})
    assert rebuilt.fc.weight.dtype == torch.float64  # type: ignore[union-attr]
    with torch.device("meta"):
        fresh = replayed(create_model("digits_cnn_4", 10, 1), [entry])
    assert fresh.fc.weight.shape == (3, 16)  # type: ignore[union-attr]
    assert fresh.fc.weight.is_meta  # type: ignore[union-attr]


def entry(name: str, **arguments: Any) -> Entry:
    return {"conversion": name, "arguments": arguments, "record": {"kept": [0]}}


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([entry(PRUNE, channels=1)], f"converted by {PRUNE}, which is no class of .*teacher.trusted=.{PRUNE}."),
        ([entry("os.system", command="true")], "converted by os.system, which is no class of"),
        ([entry("kd_lightning.conversions.Newer")], "conversions.Newer, which is not found"),
        ([entry("kd_lightning.conversions.entries.replayed")], "which is no conversion"),
        ([entry("kd_lightning.conversions.ReplaceHead", classes=1)], "cannot be made so: .*classes"),
        ([entry("kd_lightning.conversions.ReplaceHead", num_classes=0)], "num_classes=0: must be a whole number"),
    ],
)
def test_what_is_not_known_is_not_made(entries: list[Entry], told: str) -> None:
    with pytest.raises(UserError, match=f"^teacher.weights=file: .*{told}"):
        replayed(trained(), entries, key="teacher.weights=file")


def test_a_trusted_class_must_be_a_conversion() -> None:
    with pytest.raises(UserError, match=r"os\.system, which is no conversion"):
        replayed(trained(), [entry("os.system")], trusted=["os.system"])


@pytest.mark.parametrize("text", ["{", "3", '["a"]', '[{"conversion": 1, "arguments": {}, "record": {}}]', "[{}]"])
def test_unreadable_entries_are_told(text: str) -> None:
    with pytest.raises(UserError, match=r"^file: says of its conversions what cannot be read"):
        read_conversions({"conversions": text}, "file")


@dataclass
class Keeps:
    value: Any

    def fit(self, network: nn.Module, batches: Iterable[Any], sources: Mapping[str, nn.Module]) -> Any:
        return self.value

    def apply(self, network: nn.Module, record: Mapping[str, Any]) -> Any:
        return record


class Forgets:
    def __init__(self, value: int) -> None:
        pass

    fit, apply = Keeps.fit, Keeps.apply


@pytest.mark.parametrize(
    ("conversion", "told"),
    [
        (Keeps([1]), "Keeps.fit: gave list; give a mapping"),
        (Keeps({"a": 1.5}), "Keeps: its apply gave dict, no torch.nn.Module"),
        (Keeps({"a": float("nan")}), "conversion=Keeps: keeps what is no plain value"),
        (Keeps(torch.ones(2)), "conversion=Keeps: keeps what is no plain value"),
        (Forgets(1), "conversion=Forgets: keeps no attribute value"),
        (nn.Linear(2, 2), "conversion=Linear: must have the methods fit and apply"),
    ],
)
def test_what_is_no_conversion_is_told(conversion: Any, told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        converted(trained(), conversion, BATCHES, {})


def test_what_nobody_finds_again_is_refused() -> None:
    class Local(PruneChannels):
        pass

    with pytest.raises(UserError, match="defined within a function or class"):
        converted(trained(), Local(3), BATCHES, {})
    assert isinstance(Local(3), Conversion)


def test_heads_that_cannot_be_replaced() -> None:
    with pytest.raises(UserError, match=r"has not one linear layer"):
        converted(nn.Sequential(nn.Flatten()), ReplaceHead(3), BATCHES, {})
    with pytest.raises(UserError, match=r"batches=\[\]"):
        converted(trained(), ReplaceHead(3), [], {})
    _, made = converted(trained(), ReplaceHead(3), BATCHES, {})
    with pytest.raises(UserError, match="fc: this DigitsCNN has no Linear of 16 inputs"):
        replayed(create_model("digits_cnn_8", 10, 1), [made])


def test_a_checkpoint_of_a_module_says_what_its_network_has_been_through() -> None:
    network, entries = several()
    module = DistillationModule(student=network, num_classes=6)
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict(), "global_step": 0}
    module.on_save_checkpoint(checkpoint)
    assert read_conversions(checkpoint) == entries


SMALL = ("student.model=digits_cnn_4", "callbacks.progress_bar=null", "scratch=false", "trainer.limit_train_batches=3")
SHORT = (*SMALL, "trainer.max_epochs=1", "trainer.accelerator=cpu")


@pytest.fixture
def pruned(command: Command) -> str:
    """A file of weights of a network without some of its channels, below the current folder."""
    network, _ = converted(trained(), PruneChannels(5), BATCHES, {})
    save_weights(network, "pruned.safetensors", {**stored_normalization(network), **stored_conversions(network)})
    return "pruned.safetensors"


def test_a_converted_student_is_trained_tested_again_and_a_teacher(command: Command, pruned: str) -> None:
    own = (f"student.weights={pruned}", f"student.trusted=[{PRUNE}]")
    first = command("kd-train", *SHORT, *own, "teacher=none", "hydra.run.dir=first")
    assert first.code == 0, first.errors
    summary = json.loads(Path("first/summary.json").read_text())
    assert summary["student"]["params"] < 1702
    again = command("kd-eval", "run=first")
    assert again.code == 0, again.errors
    table = [line.split()[-2:] for line in again.output.splitlines() if "%" in line]
    assert table
    assert all(now == before for now, before in table)
    as_teacher = (
        "teacher.model=digits_cnn_4",
        "teacher.weights=first/student.safetensors",
        f"teacher.trusted=[{PRUNE}]",
    )
    taught = command("kd-train", *SHORT, *as_teacher, "loss=[ce,kd,fitnet]", "hydra.run.dir=second")
    assert taught.code == 0, taught.errors
    second = json.loads(Path("second/summary.json").read_text())
    assert second["teacher"]["top1"] == summary["student"]["top1"]
    assert second["teacher"]["params"] == summary["student"]["params"]


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_file_that_names_a_strangers_class_is_refused(role: str, command: Command, pruned: str) -> None:
    given = (f"{role}.model=digits_cnn_4", f"{role}.weights={pruned}")
    outcome = command("kd-train", *SHORT, *given)
    assert outcome.code == 2
    [line] = outcome.error_lines
    assert f"{role}.weights={pruned}: its network was converted by {PRUNE}" in line
    assert f"{role}.trusted=[{PRUNE}]" in line
    outcome = command("kd-train", *SHORT, *given, f"{role}.trusted=3")
    assert f"{role}.trusted=3: must be a list of classes" in outcome.error_lines[0]


def test_a_kept_network_keeps_its_conversions(command: Command, pruned: str) -> None:
    own = (f"student.weights={pruned}", f"student.trusted=[{PRUNE}]", "teacher.weights=null", "scratch=true")
    arguments = ("kd-train", *SHORT, "teacher.model=digits_cnn_4", *own)
    assert command(*arguments, "hydra.run.dir=one").code == 0
    again = command(*arguments, "temperature=2", "hydra.run.dir=two")
    assert again.code == 0, again.errors
    assert re.search(r"student alone +digits_cnn_4, found", again.output)
    one, two = (json.loads(Path(f"{name}/summary.json").read_text())["scratch"] for name in ("one", "two"))
    assert one["top1"] == two["top1"]
    assert one["params"] == two["params"] < 1702
    records = [json.loads(file.read_text())["cache_key"] for file in Path(cache_dir()).glob("networks/*/record.json")]
    (key,) = (key for key in records if "conversions" in key)
    assert PRUNE in key["own_code"], "another way to prune is another network"
