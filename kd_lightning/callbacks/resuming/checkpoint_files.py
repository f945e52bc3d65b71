"""Checkpoint files: written whole, with the one before kept, and read only if they are as they were written."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from kd_lightning.errors import UserError
from kd_lightning.runs.files import BEFORE, BEST, LAST
from kd_lightning.system.files import remove_unfinished, replacing, synced
from kd_lightning.system.records import archive_is_damaged
from kd_lightning.terminal import warn


class CheckpointFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place, then renames it; of `last.ckpt` the one before stays as `last.before.ckpt`.

    A kill, a full disk or a crash of the machine leaves the file that was there.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            torch.save(checkpoint, temporary)
            synced(temporary)
            if path.name == LAST and path.exists():
                with replacing(path.with_name(BEFORE)) as before:
                    same_file(path, before)
        synced(path.parent)


def usable(folder: Path) -> Path | None:
    """The checkpoint to go on from: the last, or the one before where that is damaged; None of none.

    Raises `UserError` where both are damaged, or where a folder has the name of one.
    """
    for name in (LAST, BEFORE, BEST):
        if (folder / name).is_dir():
            raise UserError(f"{folder / name}: a folder stands where a checkpoint has to be; remove it")
    remove_unfinished(folder)
    found = [folder / name for name in (LAST, BEFORE) if (folder / name).exists()]
    if not found:
        return None
    sound = next((path for path in found if not archive_is_damaged(path)), None)
    if sound is None:
        also = ", and so is the one before" if len(found) > 1 else ""
        raise UserError(f"{found[0]}: is damaged{also}; remove {folder} to train anew")
    return sound


def warn_of_damage(checkpoint: Path) -> None:
    """Say so where a training goes on from the checkpoint before a damaged one."""
    if checkpoint.name == BEFORE:
        warn(f"{checkpoint.with_name(LAST)} is damaged; going on from the checkpoint before it, {checkpoint}")


def same_file(path: Path, name: Path) -> None:
    """Another name for a file, or a copy where the file system has no second names."""
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except OSError:
        shutil.copyfile(path, name)
