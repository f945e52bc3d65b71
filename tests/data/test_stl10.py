"""STL-10's original files: what is read, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kd_lightning.data import STL10DataModule
from kd_lightning.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twenty images to train on and ten to test, each of the number of its label, but for one line of ones."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for part, count in (("train", 20), ("test", 10)):
        labels = np.arange(count, dtype=np.uint8) % 10 + 1
        images = np.broadcast_to(labels[:, None, None, None], (count, 3, 96, 96)).copy()
        images[:, 0, 5, :] = 255  # the fifth row from above
        images.transpose(0, 1, 3, 2).tofile(folder / f"{part}_X.bin")  # columns first, as the original is
        labels.tofile(folder / f"{part}_y.bin")
    return tmp_path


@pytest.mark.parametrize("inside", [False, True])
def test_columns_become_rows_and_labels_begin_with_0(root: Path, inside: bool) -> None:
    data = STL10DataModule(
        root=root / "stl10_binary" if inside else root, val_fraction=0.0, augment=None, batch_size=20
    )
    data.setup()
    assert data.sizes() == {"train": 20, "val": 10, "test": 10}
    images, targets = data.test_set.images.images, data.test_set.targets
    assert targets.tolist() == list(range(10))
    assert images.shape == (10, 3, 96, 96)
    assert bool((images[:, 0, 5] == 255).all())
    assert torch.equal(images[:, 1, 0, 0].long(), targets + 1)
    assert data.class_names[int(targets[2])] == "car"


def test_what_is_missing_or_damaged_is_told(root: Path) -> None:
    with pytest.raises(UserError, match=r"data.root=.*nowhere: has no train_X.bin, .*stl10_binary.tar.gz"):
        STL10DataModule(root=root / "nowhere").check()
    labels = root / "stl10_binary" / "test_y.bin"
    whole = labels.read_bytes()
    labels.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"test_X.bin and test_y.bin have 9 labels for 10 images"):
        STL10DataModule(root=root).setup()
    labels.write_bytes(whole[:-1] + b"\x0b")
    with pytest.raises(UserError, match=r"labels from 1 to 11, which are from 1 to 10"):
        STL10DataModule(root=root).setup()
