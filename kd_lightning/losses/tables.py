"""Tables with a row for each training sample, which losses write as a training goes."""

import torch
from torch import Tensor


def rows_of(index: Tensor, known: Tensor) -> Tensor:
    """The places (B,) of samples among those known, (M,) ascending; -1 of one that is not there."""
    row = torch.searchsorted(known, index.long()).clamp(max=len(known) - 1)
    return torch.where(known[row] == index, row, -1)


@torch.no_grad()
def write_rows(table: Tensor, rows: Tensor, values: Tensor) -> None:
    """Put values (B, …) into rows (B,) of a table (M, …), in place; -1 is no row, and of equal rows the last counts."""
    places = rows.clamp(min=0)
    same = (places[:, None] == places) & (rows >= 0)
    last = (same * torch.arange(1, len(rows) + 1, device=rows.device)).amax(dim=1)
    # Whoever writes to one place writes the same value, so the order does not matter.
    kept = torch.where(last[:, None] > 0, values[last - 1], table[places])
    table.index_copy_(0, places, kept)
