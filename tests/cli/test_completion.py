"""The tab key completes groups, values, keys, flags and paths, and costs no import of Hydra."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kd_lightning.cli.completion import candidates
from kd_lightning.config.conf import options
from tests.conftest import Command


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("kd-train los", ["loss.", "loss="]),
        ("kd-train loss=dk", ["loss=dkd"]),
        ("kd-train loss=[ce,dk", ["loss=[ce,dkd"]),
        ("kd-train -m method=wsl", ["method=wsld"]),
        ("kd-train seed=1 -m optimizer=s", ["optimizer=sgd"]),
        ("kd-train experiment=cifar100/resnet5", ["experiment=cifar100/resnet56_resnet20"]),
        ("kd-train teacher.weights_k", ["teacher.weights_key="]),
        ("kd-train teacher.weights=tr", ["teacher.weights=train"]),
        ("kd-train +optimizer.lr=0", ["+optimizer.lr=0.05"]),
        ("kd-train nesterov=f", []),
        ("kd-train optimizer.nesterov=", ["optimizer.nesterov=false", "optimizer.nesterov=true"]),
        ("kd-train loss=dkd loss.dkd.loss.b", ["loss.dkd.loss.beta="]),
        ("kd-train method=dkd loss.dkd.loss.b", ["loss.dkd.loss.beta="]),
        ("kd-train loss.dkd.loss.b", []),
        ("kd-train --cfg j", ["job"]),
        ("kd-train --hy", ["--hydra-help"]),
        ("kd-train --config-dir nowhere opt", []),
    ],
)
def test_what_may_stand_there(line: str, found: list[str]) -> None:
    assert candidates("train", line) == found


def test_behind_a_space_all_that_may_follow() -> None:
    found = candidates("train", "kd-train loss=ce ")
    assert {"data=", "data.", "method=", "seed=", "temperature="} <= set(found)
    assert candidates("train", "kd-train loss=") == [f"loss={name}" for name in options("loss")]
    keys = ["checkpoint=", "data.", "run=", "trainer.", "trust="]
    assert [name for name in candidates("eval", "kd-eval ") if name in keys] == keys
    assert not any(name.startswith(("loss", "method")) for name in candidates("eval", "kd-eval "))


def test_paths_and_a_users_own_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own" / "optimizer").mkdir(parents=True)
    (tmp_path / "own" / "optimizer" / "slow.yaml").write_text("defaults: [sgd, _self_]\nnoise: 0\n")
    assert candidates("train", "kd-train --config-dir own optimizer=sl") == ["optimizer=slow"]
    assert "optimizer.noise=" in candidates("train", "kd-train --config-dir=own optimizer=slow optimizer.")
    assert candidates("eval", "kd-eval run=./o") == ["run=./own/"]


def test_nothing_is_said_where_nothing_can_be_read(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_LINE", "kd-train --config-dir nowhere loss=")
    outcome = command("kd-train", "-sc", "query=bash")
    assert (outcome.code, outcome.output, outcome.errors) == (0, "\n", "")
    monkeypatch.setenv("COMP_LINE", "kd-train loss=cc")
    assert command("kd-train", "-sc", "query=fish").output == "loss=cc\nloss=cc_kernel\n"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_asks_the_installed_command(tmp_path: Path) -> None:
    script = tmp_path / "kd-train"  # as pip writes it
    start = "import sys\nfrom kd_lightning.commands.train import main\nsys.exit(main())\n"
    script.write_text(f"#!{sys.executable}\n{start}")
    script.chmod(0o755)
    typed = """
eval "$(kd-train --shell-completion install=bash)"
COMP_LINE="kd-train seed=1 -m loss=dk" COMP_CWORD=3
hydra_bash_completion
echo "completed ${COMPREPLY[*]}"
complete -p kd-train
"""
    paths = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    shown = subprocess.run(
        ["bash", "-c", typed], env={**os.environ, **paths}, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert shown.stderr == ""
    assert "completed loss=dkd\n" in shown.stdout
    assert "-F hydra_bash_completion kd-train" in shown.stdout
