"""A file of records tells what is there from what is not, whatever happened to it."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kd_lightning.store import Answers, RecordFile, Whole

ROWS, WORDS = 1000, 7


def words(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-(2**15), 2**15, (count, WORDS), generator=generator).to(torch.int16)


def found(records: RecordFile, rows: Tensor) -> list[bool]:
    there: list[bool] = records.read(rows)[1].tolist()
    return there


def bytes_on_disk(file: Path) -> int:
    return file.stat().st_blocks * 512


def test_what_is_written_is_read_and_nothing_else_is_there(tmp_path: Path) -> None:
    records, rows, written = RecordFile(tmp_path / "file", ROWS, WORDS), torch.tensor([999, 0, 17]), words(3)
    assert not any(found(records, torch.arange(ROWS)))
    records.write(rows, written)
    read, there = records.read(rows)
    assert torch.equal(read, written)
    assert there.all()
    assert records.filled().tolist() == [0, 17, 999]


def test_zeros_are_a_record_too(tmp_path: Path) -> None:
    records = RecordFile(tmp_path / "file", ROWS, WORDS)
    records.write(torch.tensor([5]), torch.zeros(1, WORDS, dtype=torch.int16))
    assert found(records, torch.tensor([4, 5])) == [False, True]


def test_it_is_there_for_the_next_process(tmp_path: Path) -> None:
    first = RecordFile(tmp_path / "file", ROWS, WORDS)
    first.write(torch.arange(10), words(10))
    first.close()
    assert torch.equal(RecordFile(tmp_path / "file", ROWS, WORDS).read(torch.arange(10))[0], words(10))


@pytest.mark.parametrize("byte", range(2 * WORDS + 4))
def test_a_changed_byte_makes_a_record_absent(tmp_path: Path, byte: int) -> None:
    records = RecordFile(tmp_path / "file", ROWS, WORDS)
    records.write(torch.tensor([3, 4]), words(2))
    place = 4 * (2 * WORDS + 4) + byte
    with (tmp_path / "file").open("r+b") as file:
        file.seek(place)
        old = file.read(1)[0]
        file.seek(place)
        file.write(bytes([old ^ 0x10]))
    assert found(records, torch.tensor([3, 4])) == [True, False]


def test_a_record_that_lies_in_another_row_is_absent(tmp_path: Path) -> None:
    records = RecordFile(tmp_path / "file", ROWS, WORDS)
    records.write(torch.tensor([3]), words(1))
    size = 2 * WORDS + 4
    content = bytearray((tmp_path / "file").read_bytes())
    content[8 * size : 9 * size] = content[3 * size : 4 * size]
    (tmp_path / "file").write_bytes(content)
    assert found(RecordFile(tmp_path / "file", ROWS, WORDS), torch.tensor([3, 8])) == [True, False]


def test_what_a_truncated_file_has_lost_is_absent(tmp_path: Path) -> None:
    records = RecordFile(tmp_path / "file", ROWS, WORDS)
    records.write(torch.arange(100), words(100))
    records.close()
    os.truncate(tmp_path / "file", 50 * (2 * WORDS + 4) + 5)
    again = RecordFile(tmp_path / "file", ROWS, WORDS)
    assert again.filled().tolist() == list(range(50))
    again.write(torch.arange(50, 100), words(100)[50:])
    assert torch.equal(again.read(torch.arange(100))[0], words(100))


def test_it_takes_up_what_is_written(tmp_path: Path) -> None:
    records = RecordFile(tmp_path / "file", 10**8, WORDS)
    records.write(torch.tensor([5 * 10**7]), words(1))
    assert bytes_on_disk(tmp_path / "file") < 10**5
    assert records.filled().tolist() == [5 * 10**7]


FILL = """
import sys, torch
from pathlib import Path
from kd_lightning.store import RecordFile
from tests.store.test_records import ROWS, WORDS, words
records = RecordFile(Path(sys.argv[1]), ROWS, WORDS)
order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(int(sys.argv[2])))
for rows in order.split(10):
    records.write(rows, words(ROWS)[rows])
"""


@pytest.mark.slow
def test_several_processes_fill_it_at_the_same_time(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", FILL, str(tmp_path / "file"), str(n)]) for n in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    read, there = RecordFile(tmp_path / "file", ROWS, WORDS).read(torch.arange(ROWS))
    assert there.all()
    assert torch.equal(read, words(ROWS))


@pytest.fixture
def full_disk() -> Iterator[Callable[[], None]]:
    """Makes a disk of this process that takes no more than 300 bytes a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_a_warning_and_the_answers_go_on(tmp_path: Path, full_disk: Callable[[], None]) -> None:
    answers = Answers(tmp_path / "file", 100, 1, Whole(4))
    index, view, values = torch.arange(100), torch.zeros(100, dtype=torch.int64), torch.ones(100, 4)
    full_disk()
    with pytest.warns(UserWarning, match="takes no more") as warned:
        written = [answers.write(index, view, values) for _ in range(2)]
    assert len(warned) == 1
    assert all(torch.equal(answer, values) for answer in written)
    _, missing = answers.read(index, view)
    assert 0 < len(missing) < 100


def test_reading_much_leaves_little_in_memory(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "file", 200_000, 1, Whole(200))
    index, view = torch.arange(200_000), torch.zeros(200_000, dtype=torch.int64)
    for part in index.split(10_000):
        answers.write(part, view[: len(part)], torch.randn(len(part), 200))
    before = resident_bytes()
    for part in index.split(1000):
        assert not len(answers.read(part, view[: len(part)])[1])
    assert resident_bytes() - before < bytes_on_disk(tmp_path / "file") / 2 < 2**26


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("RssFile:")[2].split()[0])
