"""Relations over the batches of all processes: two processes have the loss and the gradients of one."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.losses import (
    DIST,
    MLKD,
    PKT,
    RKD,
    CorrelationCongruenceAdjacent,
    CorrelationCongruenceKernel,
    SimilarityPreserving,
)

KINDS = (
    SimilarityPreserving,
    RKD,
    CorrelationCongruenceAdjacent,
    CorrelationCongruenceKernel,
    PKT,
    DIST,
    MLKD,
)
BATCHES = (6, 5)  # examples; of five, one process has three and the other two


def gradients(
    kind: type[nn.Module], examples: int, process: int = 0, processes: int = 1, gather: bool = True
) -> list[Tensor]:
    """The loss and the gradients of a small student and of the loss's own parameters, from one process's share."""
    torch.manual_seed(0)
    student, teacher = (nn.Linear(4, 5, dtype=torch.float64) for _ in range(2))
    loss = kind(gather=gather)
    count = 4 if kind is MLKD else 2
    if isinstance(loss, CorrelationCongruenceAdjacent):
        loss.build(torch.zeros(2, 5), torch.zeros(2, 5))
        loss.double()
    views = torch.randn(2, examples, 4, dtype=torch.float64)[:, process::processes]
    signals = [part for view in views for part in (student(view), teacher(view).detach())]
    value = loss(*signals[:count])
    value.backward()
    return [value.detach(), *(p.grad for p in [*student.parameters(), *loss.parameters()] if p.grad is not None)]


def one_of_two(process: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=process, world_size=2)
    found = {}
    for kind in KINDS:
        for examples in BATCHES:
            values = gradients(kind, examples, process, processes=2)
            for value in values:  # as DistributedDataParallel does
                torch.distributed.all_reduce(value)
            found[f"{kind.__name__} {examples}"] = [value / 2 for value in values]
    torch.save(found, f"{folder}/{process}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    found = torch.load(tmp_path / "0")
    for kind in KINDS:
        for examples in BATCHES:
            expected = gradients(kind, examples)
            assert len(expected) == 7 if kind is CorrelationCongruenceAdjacent else 3
            torch.testing.assert_close(found[f"{kind.__name__} {examples}"], expected)


def test_alone_nothing_is_gathered() -> None:
    for kind in KINDS:
        torch.testing.assert_close(gradients(kind, 6), gradients(kind, 6, gather=False))
