"""A file of records, one for each row, which several processes read and fill at the same time."""

import os
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kd_lightning.store.hashing import MASK, scramble
from kd_lightning.system.records import warn_once

CHECK_WORDS = 2  # of 16 bits each, behind a record's own
READ_WORDS = 2**21  # at a time, whose checksums take 8 bytes for each of them


class RecordFile:
    """Rows of 16-bit words on the disk, each with a checksum; one that was never written, or is torn, reads as absent.

    Read with `preadv` and written with `pwrite`: through a mapping a full disk would kill the process, on some file
    systems even where a hole is read. The file is sparse: it takes up what is written. Who writes a row again writes
    the same, so no lock is needed. Once closed, it is opened again where it is asked.

    Args:
        path: the file; it is made, or brought to its size, where need be. One that cannot be written is read alone.
        rows: how many records it has room for.
        words: how many 16-bit words a record has.
    """

    def __init__(self, path: Path, rows: int, words: int) -> None:
        self.path, self.rows, self.words = path, rows, words
        self._record_bytes = 2 * (words + CHECK_WORDS)
        self._refused: OSError | None = None
        self._close: Callable[[], object] | None = None
        self._file = -1
        self._weights = torch.tensor([scramble(word + 1) | 1 for word in range(words)])
        self._open()

    def __reduce__(self) -> tuple[type["RecordFile"], tuple[Path, int, int]]:
        """Another process opens the file for itself."""
        return type(self), (self.path, self.rows, self.words)

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """rows int64 (B,) -> words int16 (B, W), and whether each is there: bool (B,)"""
        file, read = self._open(), np.zeros((len(rows), self._record_bytes), dtype=np.uint8)
        numbers = rows.numpy()
        ends = [*(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), len(numbers)]
        for start, end in zip([0, *ends], ends, strict=False):  # consecutive rows at once
            if start < end:
                os.preadv(file, [read[start:end].data], int(numbers[start]) * self._record_bytes)
        records = torch.from_numpy(read.view(np.int16))
        words, check = records[:, : self.words], records[:, self.words :]
        found = (check == self._checksum(rows, words)).all(dim=1)
        if bool((check.any(dim=1) & ~found).any()):
            warn_once(f"{self.path}: some of its records are damaged; they are taken for absent")
        return words.contiguous(), found

    def write(self, rows: Tensor, words: Tensor) -> None:
        """Keep words int16 (B, W) in rows int64 (B,). Raises OSError where the disk takes no more."""
        file = self._open()
        if self._refused is not None:
            raise self._refused
        records = torch.cat([words, self._checksum(rows, words)], dim=1).contiguous().numpy()
        for row, record in zip(rows.tolist(), records, strict=True):
            os.pwrite(file, record.data, row * self._record_bytes)

    def filled(self) -> Tensor:
        """The rows that are there: int64, ascending. Reads all that is written."""
        found, after = [torch.empty(0, dtype=torch.int64)], 0
        for start, end in self._extents():
            first, after = max(after, start // self._record_bytes), min(self.rows, -(-end // self._record_bytes))
            rows = torch.arange(first, after)
            found.append(rows[self.holds(rows)])
        return torch.cat(found)

    def holds(self, rows: Tensor) -> Tensor:
        """Whether each row is there: bool (B,). However many and wide, a part of them is in memory at a time."""
        parts = rows.split(max(1, READ_WORDS // self.words))
        return torch.cat([self.read(part)[1] for part in parts])

    def close(self) -> None:
        """Give the file back to the system, as is also done once nobody has this object any more."""
        if self._close is not None:
            self._close()
            self._close = None

    def _open(self) -> int:
        """The file's descriptor."""
        if self._close is not None:
            return self._file
        size = self.rows * self._record_bytes
        try:
            self._file, self._refused = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), None
        except OSError as error:  # a cache that cannot be written
            if not self.path.is_file() or self.path.stat().st_size != size:
                raise
            self._file, self._refused = os.open(self.path, os.O_RDONLY), error
        self._close = weakref.finalize(self, os.close, self._file)
        if os.fstat(self._file).st_size != size:
            os.ftruncate(self._file, size)
        return self._file

    def _extents(self) -> Iterator[tuple[int, int]]:
        """The parts of the file that are not holes, from one byte to another."""
        file, end = self._open(), 0
        while True:
            try:
                start = os.lseek(file, end, os.SEEK_DATA)
            except OSError:  # no data behind it
                return
            end = os.lseek(file, start, os.SEEK_HOLE)
            yield start, end

    def _checksum(self, rows: Tensor, words: Tensor) -> Tensor:
        """int16 (B, 2), never 0: of the words, their order and their row."""
        total = ((words.long() & 0xFFFF) * self._weights).sum(dim=1)
        value = scramble((total ^ (total >> 32) ^ rows) & MASK) | 1
        return torch.stack([value & 0xFFFF, value >> 16], dim=1).to(torch.int32).to(torch.int16)
