"""Folders of other people whose configs name what would run code: nothing runs, and one line names it."""

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from tests.torture.forked import Process, start
from tests.torture.trial import Trial, tried

LIMIT = 300.0
QUICK = (
    *("trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.accelerator=cpu", "scratch=false"),
    *("callbacks.progress_bar=null", "teacher.model=digits_cnn_4"),
)
RUN = (*QUICK, "teacher.cache=logits", "hydra.run.dir=run")
SWEEP = ("-m", *QUICK, "temperature=1,4", "hydra.sweep.dir=sweep")
HARM = "pwned"  # what is there once something has run
SECRET = "not-to-be-told"
TARGETS: dict[str, dict[str, Any]] = {
    "os.mkdir": {"_args_": [HARM]},
    "os.system": {"_args_": [f"mkdir {HARM}"]},
    "subprocess.check_call": {"_args_": [["mkdir", HARM]]},
    "builtins.exec": {"_args_": [f"open({HARM!r}, 'w')"]},
    "builtins.open": {"_args_": [HARM, "w"]},
    "numpy.save": {"file": HARM, "arr": [1]},
    "mine.Net": {},
    "mine.function": {},
    "torch.load": {"f": "evil.pt", "weights_only": False},
    "torch.serialization.load": {"f": "evil.pt", "weights_only": False},
    "torch.save": {"obj": 1, "f": HARM},
    "torch.hub.load": {"repo_or_dir": ".", "model": "evil", "source": "local"},
    "torch.utils.data.dataset.random_split.__globals__": {},
    "lightning.fabric.utilities.cloud_io._load": {"path_or_url": "evil.pt", "weights_only": False},
    "hydra.utils.call": {"config": {"_target_": "os.mkdir", "_args_": [HARM]}},
    "hydra.utils.get_method": {"path": "mine.function"},
    "kd_lightning.losses.functional.soft_target": {},
}
PLACES = (
    *("data", "data.augment", "data.augment.transforms", "student.model", "student.model.block", "student.adapt"),
    *("teacher", "loss.kd", "loss.kd.loss", "loss.kd.weight", "loss.kd.projector", "optimizer", "scheduler"),
    *("trainer", "trainer.profiler", "trainer.plugins", "trainer.strategy", "callbacks.mine", "logger.mine"),
    *("callbacks.checkpoint_best.dirpath", "initialization.loss.ft", "extra"),
)
COMMANDS: dict[str, tuple[str, ...]] = {
    "kd-eval": ("run=run",),
    "kd-report": ("run",),
    "kd-cache": ("verify",),
    "kd-train": SWEEP,
}


class Evil:
    """What makes a folder where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (HARM,)


def trials(count: int, seed: int, folder: Path) -> Iterator[Trial]:
    """So many folders, each opened by one command."""
    whole, changed = folder / "whole", folder / "changed"
    prepare(whole)
    for number in range(count):
        chance = random.Random(f"{seed} {number}")
        command = [*COMMANDS][number % len(COMMANDS)]
        shutil.copytree(whole, changed)
        attempt = told_a_secret if chance.random() < 0.2 else ran_code
        yield tried("foreign", f"{command} of a changed folder", lambda: attempt(command, changed, chance))  # noqa: B023
        shutil.rmtree(changed)
    shutil.rmtree(whole)


def prepare(folder: Path) -> None:
    """A run, a sweep whose selected job is not tested, what they keep, and the means to do harm."""
    for arguments in (RUN, SWEEP):
        process = run("kd-train", arguments, folder)
        assert process.wait(LIMIT) == 0, process.errors
    for path in folder.glob("sweep/*/summary.json"):
        summary = json.loads(path.read_text())
        summary["data"]["tested"] = False
        path.write_text(json.dumps(summary))
    harm = f"from pathlib import Path\nPath({HARM!r}).mkdir(exist_ok=True)\nclass Net: pass\ndef function(): pass\n"
    for name in ("mine.py", "hubconf.py"):
        (folder / name).write_text(harm)
    torch.save(Evil(), folder / "evil.pt")


def run(command: str, arguments: tuple[str, ...], folder: Path) -> Process:
    secret = {"TORTURE_API_KEY": SECRET, "COLUMNS": "1000"}
    return start(command, arguments, folder, {"KD_LIGHTNING_CACHE": str(folder / "cache"), **secret})


def change(folder: Path, key: str, value: Any) -> None:
    """Put a value into each stored config, as a stranger may have; JSON is YAML."""
    for path in (*folder.rglob(".hydra/resolved.yaml"), *folder.rglob("cache/answers/*/cache.json")):
        whole = json.loads(path.read_text()) if path.suffix == ".json" else yaml.safe_load(path.read_text())
        part = whole["config"] if path.suffix == ".json" else whole
        *outer, last = key.split(".")
        for name in outer:
            if not isinstance(part.get(name), dict):
                part[name] = {}
            part = part[name]
        part[last] = value
        path.write_text(json.dumps(whole))


def ran_code(command: str, folder: Path, chance: random.Random) -> str | None:
    """What ran, or was not refused as it has to be."""
    place, target = chance.choice(PLACES), chance.choice([*TARGETS])
    named: Any = {"_target_": target, **TARGETS[target]}
    shape = chance.choice(["as it is", "partial", "in a list", "an argument"])
    if shape == "partial":
        named["_partial_"] = True
    elif shape == "in a list":
        named = [named]
    elif shape == "an argument":
        named = {"_target_": "torch.nn.Linear", "in_features": named, "out_features": 1}
    change(folder, place, named)
    process = run(command, COMMANDS[command], folder)
    code, told = process.wait(LIMIT), f"{place}={target}, {shape}: "
    if (folder / HARM).exists():
        return told + "it ran"
    if "Traceback" in process.errors:
        return told + process.errors[-600:]
    if command == "kd-report":
        return None if code == 0 else f"{told}exit code {code}, {process.errors[-300:]}"
    said = (process.errors + process.output).splitlines()
    lines = [line for line in said if any(f"_target_={name}" in line for name in (target, "torch.nn.Linear"))]
    wanted = 2 if command == "kd-eval" else 1
    return None if code == wanted and len(lines) == 1 else f"{told}exit code {code}, {lines or said[-1:]}"


def told_a_secret(command: str, folder: Path, chance: random.Random) -> str | None:
    """Where a variable of the environment was told."""
    key = chance.choice(["student.model", "data.name", "temperature", "paths.cache_dir", "loss.kd.weight", "extra"])
    change(folder, key, "${oc.env:TORTURE_API_KEY}")
    process = run(command, COMMANDS[command], folder)
    process.wait(LIMIT)
    if "Traceback" in process.errors:
        return f"{key}: {process.errors[-600:]}"
    places = [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    return f"{key}: told in {', '.join(map(str, places))}" if places else None
