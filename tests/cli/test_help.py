"""--help explains the keys and the values of groups, and nothing is changed of Hydra where it is not asked for."""

import sys
from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra

from kd_lightning.config.comments import Comments
from kd_lightning.experiment.config import conf_dir, options
from tests.conftest import Command


def test_each_key_has_the_comment_beside_it(command: Command) -> None:
    shown = command("kd-train", "--help")
    assert shown.code == 0, shown.errors
    assert "loss: ab, attention" in shown.output
    for file in ("train", "data/digits", "student/default", "trainer/default", "loss/kd", "paths/default"):
        for entry in Comments(conf_dir() / f"{file}.yaml").entries():
            if entry.beside:
                [line, *_] = [line for line in shown.output.splitlines() if line.endswith(f"# {entry.beside}")]
                assert line.strip().startswith(f"{entry.path[-1]}:")
    assert "# The network to train.\nstudent:\n" in shown.output
    assert "  # Soft targets (Hinton, Vinyals, Dean 2015, arXiv:1503.02531).\n  kd:\n" in shown.output


def test_a_group_that_is_chosen_shows_its_values(command: Command) -> None:
    shown = command("kd-train", "loss=dkd", "scheduler=warmup_cosine", "--help")
    [_, values] = shown.output.split("== Values of loss ==")
    assert all(any(line.startswith(f"  {name} ") for line in values.splitlines()) for name in options("loss"))
    assert "alpha: 1.0  # of the label's class against the rest" in values
    assert "== Values of scheduler ==" in values
    assert "warmup: 0.05  # the share of the training in which it rises from 0" in values  # told in cosine.yaml


def test_a_users_own_values_are_among_them(command: Command) -> None:
    Path("own/optimizer").mkdir(parents=True)
    Path("own/optimizer/slow.yaml").write_text("# As sgd, slower.\ndefaults: [sgd, _self_]\nlr: 0.001 # not more\n")
    shown = command("kd-train", "--config-dir", "own", "optimizer=slow", "--help")
    assert "  slow   As sgd, slower." in shown.output
    assert "lr: 0.001  # not more" in shown.output
    assert "fused: true  # one kernel for all parameters" in shown.output


@pytest.mark.parametrize("name", ["kd-eval", "kd-inspect"])
def test_other_commands_explain_theirs(command: Command, name: str) -> None:
    shown = command(name, "--help")
    assert shown.code == 0
    root = Comments(conf_dir() / f"{name.removeprefix('kd-').replace('evaluate', 'eval')}.yaml")
    assert all(entry.beside in shown.output for entry in root.entries())


def test_a_key_that_nothing_reads_is_refused_here_too(command: Command) -> None:
    assert command("kd-train", "--help", "temprature=1").code == 2


def test_hydra_stays_as_it_is_where_help_is_not_asked_for(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    before = vars(Hydra) | {f"loader.{name}": value for name, value in vars(ConfigLoaderImpl).items()}
    seen: list[bool] = []
    compose = Hydra.compose_config

    def watched(self: Hydra, *arguments: object, **options: object) -> object:
        now = vars(Hydra) | {f"loader.{name}": value for name, value in vars(ConfigLoaderImpl).items()}
        seen.append({**now, "compose_config": compose} == before)
        return compose(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Hydra, "compose_config", watched)
    monkeypatch.delitem(sys.modules, "kd_lightning.config.help", raising=False)
    assert command("kd-train", "--cfg", "job").code == 0
    assert "kd_lightning.config.help" not in sys.modules
    assert command("kd-train", "--help").code == 0
    assert seen == [True, False]
