"""Each key of each data config takes what it can use, and refuses all else in one line that names it."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from kd_lightning.config.checks.recipes import check_data
from kd_lightning.config.conf import conf_dir
from kd_lightning.config.refusals.bad_input import BAD_INPUT, one_line
from tests.data.test_folder import tree
from tests.data.test_layouts import as_arrow, as_shards

LAYOUTS = ("flat_folder", "table", "webdataset", "hf_dataset")
BAD: list[Any] = [-1, 0, 1, 2.5, 10**12, float("nan"), "a", "", True, None, [], [1], {}, {"a": 1}]
BAD += ["x" * 300, "~nobody?", "a\0b"]
GOOD: dict[str, list[Any]] = {  # of those, what a key takes
    "root": [],
    "download": [True],
    "batch_size": [1, 10**12],
    "eval_batch_size": [1, 10**12, None],
    "num_workers": [0, 1],
    "val_fraction": [0],
    "train_samples": [1, 10**12, None],
    "imbalance": [1, 2.5, 10**12, None],
    "label_noise": [0, None],
    "sampler": [None],
    "unreadable": [None],
    "class_to_idx": [None],
    "drop_last": [True],
    "augment": [None, []],
    "augment.padding": [0, 1],
    "augment.flip": [True],
    "mixup": [0, 1, 2.5, None],
    "cutmix": [0, 1, 2.5, None],
    "strong": [None],
    "resident": [True],
    "seed": [0, 1],
    "name": ["a", "x" * 300, "~nobody?"],
    "image_size": [1],
    "resize_size": [],
    "views": [1, None],
    "mean": [],
    "std": [],
    "cache": ["a", None],
    "test_fraction": [],
    "class_pattern": [None],
    "file": [],
    "val_file": [None],
    "test_file": [None],
    "image_column": [None],
    "label_column": [None],
    "split_column": [None],
    "train_shards": [None],
    "val_shards": [None],
    "test_shards": [None],
    "_target_": [],
}


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The data configs as composed, with an image folder where one is needed."""
    monkeypatch.chdir(tmp_path)
    root = tree(tmp_path / "pets", "train", "val", each=1)
    as_shards(root / "train", tmp_path / "shards", ("ant", "bee"), each=1)
    as_arrow(root / "train", tmp_path / "arrow", ("ant", "bee"), each=1)
    (tmp_path / "labels.csv").write_text(f"file,label\n{root}/train/ant/0.png,ant\n{root}/train/bee/0.png,bee")
    (tmp_path / "stl10").mkdir()
    for part in ("train", "test"):
        for kind in "Xy":
            (tmp_path / "stl10" / f"{part}_{kind}.bin").touch()
    places = {"flat_folder": root / "train", "webdataset": "shards", "hf_dataset": "arrow", "stl10": "stl10"}
    made = {}
    for name in sorted(path.stem for path in (conf_dir() / "data").glob("*.yaml")):
        place = places.get(name, root if name.endswith(("folder", "imagenet")) else None)
        more = ["data.file=labels.csv"] if name == "table" else [] if place is None else [f"data.root={place}"]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = compose("train", [f"data={name}", f"paths.output_dir={tmp_path}", *more])
        made[name] = OmegaConf.to_container(config.data, resolve=True)
    return made  # type: ignore[return-value]


def refusal(data: dict[str, Any]) -> str | None:
    """What is said of a data config; None where it is taken."""
    try:
        check_data(OmegaConf.create({"data": data, "callbacks": None, "scheduler": None, "curriculum": None}))
    except BAD_INPUT as error:
        return one_line(error)
    return None


def with_value(data: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(data)
    inner = changed
    *path, last = key.split(".")
    for part in path:
        inner = inner[part]
    inner[last] = value
    return changed


def keys(data: dict[str, Any]) -> list[str]:
    augment = data.get("augment")
    inner = [f"augment.{key}" for key in augment if key != "_target_"] if isinstance(augment, dict) else []
    return [*data, *inner]


def test_every_key_of_every_data_config(configs: dict[str, dict[str, Any]]) -> None:
    wrong, seen = [], set()
    for name, data in configs.items():
        assert refusal(data) is None
        for key in keys(data):
            if (data["_target_"], key) in seen and key != "name":  # imagenet's are folder's
                continue
            if name in LAYOUTS and key in configs["folder"] and key != "root":  # which these take as that does
                continue
            seen.add((data["_target_"], key))
            for value in BAD:
                takes = any(value is good or (value == good and type(value) is type(good)) for good in GOOD[key])
                takes |= key == "root" and value == "a" and name.startswith("cifar")  # made for the download
                takes |= (name, key) == ("table", "root") and value is None  # the table's own folder
                takes &= (name, key) != ("small_folder", "image_size")  # less than the padding, 8
                said = refusal(with_value(data, key, value))
                if (said is None) != takes or (said is not None and not names(said, key)):
                    wrong.append(f"{name}: data.{key}={str(value)[:20]}: {said}")
    assert len(seen) > 60
    assert not wrong, "\n".join(wrong)


def names(said: str, key: str) -> bool:
    """Whether a message is one line, of this key or of one that depends on it."""
    others = {"image_size": ["resize_size", "augment.padding"], "augment": ["augment"], "_target_": ["data"]}
    return "\n" not in said and any(f"data.{one}" in said or one == "data" for one in [key, *others.get(key, [])])
