"""Runs of other people: what is built of their configs without being trusted."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kd_lightning.config.conf import conf_dir
from kd_lightning.config.folder.foreign import check_foreign, entries, is_expected
from kd_lightning.errors import UserError
from kd_lightning.system.secrets import without_secrets
from tests.conftest import Command


def at(key: str, value: Any) -> dict[str, Any]:
    """A config with one value at a dotted key."""
    for name in reversed(key.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("data", "kd_lightning.data.DigitsDataModule"),
        ("data.augment", "kd_lightning.data.CropFlip"),
        ("data.augment", "torchvision.transforms.v2.RandomErasing"),
        ("student.model", "torchvision.models.ResNet"),
        ("student.adapt", "kd_lightning.sources.ReusedClassifier"),
        ("teacher", "kd_lightning.sources.FrozenNetwork"),
        ("loss.kd", "kd_lightning.objective.Term"),
        ("loss.kd.loss", "kd_lightning.losses.SoftTarget"),
        ("loss.kd.weight", "kd_lightning.schedules.Warmup"),
        ("loss.kd.projector", "kd_lightning.projectors.Regressor"),
        ("initialization.loss.ft.loss.loss", "kd_lightning.losses.FactorTransfer"),
        ("optimizer", "torch.optim.AdamW"),
        ("student.optimizer", "torch.optim.AdamW"),
        ("teacher.scheduler", "kd_lightning.schedules.learning_rate.Cosine"),
        ("scratch.trainer", "lightning.Trainer"),
        ("teacher.loss.ce", "kd_lightning.objective.Term"),
        ("scratch.loss.ce.loss", "kd_lightning.losses.CrossEntropy"),
        ("scheduler", "kd_lightning.schedules.learning_rate.Cosine"),
        ("scheduler", "torch.optim.lr_scheduler.StepLR"),
        ("trainer", "lightning.Trainer"),
        ("trainer.profiler", "lightning.pytorch.profilers.SimpleProfiler"),
        ("callbacks.best", "lightning.pytorch.callbacks.ModelCheckpoint"),
        ("logger.csv", "kd_lightning.tracking.metrics_file.MetricsFile"),
    ],
)
def test_the_fields_own_classes_are_built(key: str, target: str) -> None:
    check_foreign(at(key, {"_target_": target}), "run")


def packaged() -> Iterator[tuple[str, str]]:
    """Where a config of the package names a class, and which."""
    for file in sorted(conf_dir().rglob("*.yaml")):
        group, text = file.parent.relative_to(conf_dir()).parts, file.read_text()
        if group[:1] in (("hydra",), ("hparams_search",)):
            continue
        config = yaml.safe_load(text)
        if group == ("curriculum", "weight"):  # which stand at a term
            group = ("loss", "kd", "sample_weight")
        for name in () if "# @package _global_" in text else reversed(group):
            config = {name: config}
        for key, value in entries(config or {}):
            if key.endswith("._target_") and "${" not in value and "=" not in key:
                yield key.removesuffix("._target_"), value


@pytest.mark.parametrize(("key", "target"), sorted({*packaged()}))
def test_the_packages_configs_name_classes_that_are_built(key: str, target: str) -> None:
    assert is_expected(key, target)


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("data", "os.system"),
        ("data", "mine.Data"),
        ("data", "torch.load"),
        ("data", "torch.nn.Linear"),  # a class, but of another kind
        ("data.augment", "subprocess.Popen"),
        ("data.augment", "kd_lightning.data.views.view_of"),
        ("data.augment", "lightning.Trainer"),
        ("student.model", "torch.hub.load"),
        ("student.model", "torchvision.models.resnet18"),
        ("student.model", "torch.serialization.pickle.Unpickler"),
        ("student.model", "torch.jit.load"),
        ("student.model.block", "builtins.eval"),
        ("student.model", "hydra.utils.get_method"),
        ("student.adapt", "torch.load"),
        ("teacher", "torch.load"),
        ("loss.kd", "torch.nn.Linear"),
        ("loss.kd.loss", "kd_lightning.losses.functional.kd"),
        ("loss.kd.weight", "os.getcwd"),
        ("optimizer", "torch.nn.Linear"),
        ("scheduler", "torch.optim.SGD"),
        ("trainer", "lightning.pytorch.utilities.rank_zero_only"),
        ("trainer.strategy", "os.system"),
        ("callbacks.mine", "mine.Callback"),
        ("callbacks.best.dirpath", "os.system"),
        ("logger.csv", "kd_lightning.system.files.write_text"),
        ("extra", "torch.nn.Linear"),  # nothing is built there
        ("student.model", "torch.nothing"),
        ("student.model", "torch.nn"),
        ("student.model", 3),
    ],
)
def test_whatever_else_would_be_built_is_named(key: str, target: Any) -> None:
    with pytest.raises(UserError, match="trust=true") as refused:
        check_foreign({"seed": 0} | at(key, {"_target_": target, "_args_": ["echo"]}), "runs/theirs")
    assert f"runs/theirs: {key}._target_={target}" in str(refused.value)


def test_in_lists_and_at_any_depth() -> None:
    deep = {"_target_": "kd_lightning.data.DigitsDataModule", "augment": [{"inner": [{"_target_": "os.system"}]}]}
    with pytest.raises(UserError, match=r"data\.augment\.0\.inner\.0\._target_=os\.system"):
        check_foreign({"data": deep}, "run")


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_classes_for_files_of_weights_are_refused(role: str) -> None:
    check_foreign({role: {"trusted": None}}, "run")
    with pytest.raises(UserError, match=rf"^run: {role}\.trusted\.0=mine\.Prune: .*trust=true"):
        check_foreign({role: {"trusted": ["mine.Prune"]}}, "run")


def test_what_would_be_resolved_is_refused() -> None:
    with pytest.raises(UserError, match="stored resolved"):
        check_foreign({"seed": "${oc.env:HOME}"}, "run")


def test_secrets_of_the_environment_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "abc123def")
    monkeypatch.setenv("SOME_PASSWORD", "hunter-two")
    monkeypatch.setenv("AUTH_ON", "true")
    config = {"logger": {"wandb": {"key": "abc123def"}}, "urls": ["http://me:hunter-two@host", 3], "nesterov": "true"}
    assert without_secrets(config) == {
        "logger": {"wandb": {"key": "***"}},
        "urls": ["http://me:***@host", 3],
        "nesterov": "true",
    }


def evil(folder: Path, key: str, target: str, **arguments: Any) -> None:
    """Change the stored config of a run so that it would leave a file behind, or run what is in the current folder."""
    path = folder / ".hydra" / "resolved.yaml"
    config = yaml.safe_load(path.read_text())
    part = config
    for name in key.split(".")[:-1]:
        part = part[name]
    part[key.rpartition(".")[2]] = {"_target_": target, **arguments}
    path.write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    ("key", "target", "arguments"),
    [
        ("data", "os.mkdir", {"_args_": ["pwned"]}),
        ("student.model", "os.mkdir", {"_args_": ["pwned"]}),
        ("teacher", "os.mkdir", {"_args_": ["pwned"]}),
        ("trainer.profiler", "os.mkdir", {"_args_": ["pwned"]}),
        ("optimizer", "os.mkdir", {"_args_": ["pwned"]}),
        ("student.model", "mine.Net", {}),
        ("student.model", "torch.load", {"f": "weights.pt", "weights_only": False}),
    ],
)
def test_evaluating_a_strangers_run_runs_nothing_of_theirs(
    command: Command, run_folder: Path, key: str, target: str, arguments: dict[str, Any]
) -> None:
    Path("mine.py").write_text("from pathlib import Path\nPath('pwned').mkdir()\n")
    evil(run_folder, key, target, **arguments)
    outcome = command("kd-eval", "run=run")
    assert outcome.code == 2
    assert not Path("pwned").exists()
    assert len(outcome.error_lines) == 1
    assert f"{key}._target_={target}" in outcome.error_lines[0]
    assert "trust=true" in outcome.error_lines[0]
    if target == "mine.Net":
        command("kd-eval", "run=run", "trust=true")
        assert Path("pwned").exists(), "with trust it is imported"


def test_a_strangers_run_of_known_classes_is_evaluated(
    command: Command, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", "a-store-that-has-not-seen-it")
    assert command("kd-eval", "run=run").code == 0


def test_a_report_tells_nothing_of_the_readers_environment(
    command: Command, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "not-to-be-told")
    for name in ("first", "second"):
        shutil.copytree(run_folder, f"theirs/{name}")
        for config in Path(f"theirs/{name}/.hydra").glob("*.yaml"):
            if config.name != "hydra.yaml":
                config.write_text(config.read_text().replace("digits_cnn_4", "${oc.env:MY_API_KEY}"))
        overrides = Path(f"theirs/{name}/.hydra/overrides.yaml")
        overrides.write_text(f"- student.model=${{oc.env:MY_API_KEY}}\n- temperature={len(name)}\n")
    outcome = command("kd-report", "theirs/first", "theirs/second")
    assert outcome.code == 0, outcome.errors
    pages = [path.read_text() for path in Path().rglob("*.html")]
    assert pages
    assert not any("not-to-be-told" in text for text in [*pages, outcome.output])


def test_a_run_writes_no_secret_of_the_environment(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "not-to-be-told")
    options = ("teacher=none", "trainer.max_epochs=1", "callbacks.progress_bar=null", "hydra.run.dir=run")
    outcome = command("kd-train", *options, "extra.note=for ${oc.env:MY_API_KEY}")
    assert outcome.code == 0, outcome.errors
    for path in Path("run").rglob("*"):
        assert path.is_dir() or b"not-to-be-told" not in path.read_bytes(), path
