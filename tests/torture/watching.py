"""Files as they are made and written, the moment that they are (Linux's inotify)."""

import ctypes
import os
import select
import struct
from pathlib import Path

CREATED, MODIFIED, CLOSED, MOVED, DELETED = 0x100, 0x2, 0x8, 0x80, 0x200
IS_FOLDER = 0x40000000
NAMES = {CREATED: "created", MODIFIED: "modified", CLOSED: "closed", MOVED: "renamed", DELETED: "deleted"}
HEAD = struct.Struct("iIII")
libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """What happens to files in a folder and below."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._file = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._folders: dict[int, Path] = {}
        self._found: list[str] = []
        self._add(root)

    def _add(self, folder: Path) -> None:
        """Watch a folder; what came into it before that is told now."""
        number = libc.inotify_add_watch(self._file, os.fsencode(folder), sum(NAMES))
        if number < 0:  # it is gone again
            return
        self._folders[number] = folder
        for entry in os.scandir(folder):
            self._found.append(f"created {self._named(folder, entry.name)}")
            if entry.is_dir(follow_symlinks=False):
                self._add(folder / entry.name)

    def _named(self, folder: Path, name: str) -> str:
        return str((folder / name).relative_to(self.root))

    def next(self, seconds: float) -> list[str]:
        """What happened, as soon as anything does: "modified checkpoints/.last.ckpt.0f5c"; nothing in that time."""
        found, self._found = self._found, []
        if not found and select.select([self._file], [], [], seconds)[0]:
            content, at = os.read(self._file, 2**16), 0
            while at < len(content):
                number, mask, _, length = HEAD.unpack_from(content, at)
                name = content[at + HEAD.size : at + HEAD.size + length].rstrip(b"\0").decode()
                at += HEAD.size + length
                if number not in self._folders or not name:
                    continue
                folder = self._folders[number]
                found += [f"{NAMES[bit]} {self._named(folder, name)}" for bit in NAMES if mask & bit]
                if mask & IS_FOLDER and mask & (CREATED | MOVED):
                    self._add(folder / name)
        return found

    def close(self) -> None:
        os.close(self._file)
