"""An answer as the 16-bit words of a record, and back."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

HALF_MAX = 65504.0


class Encoding(Protocol):
    """Values (B, C) to words int16 (B, W), and words to float32 values (B, C)."""

    @property
    def words(self) -> int: ...

    @property
    def is_partial(self) -> bool:
        """Whether more than rounding is lost."""
        ...

    def encode(self, values: Tensor) -> Tensor: ...

    def decode(self, words: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Whole:
    """All numbers of a vector, in 16 or 32 bits; in 16 bits, those beyond ±65504 become ±65504."""

    width: int
    bits: int = 16
    is_partial: ClassVar[bool] = False

    @property
    def words(self) -> int:
        return self.width * self.bits // 16

    def encode(self, values: Tensor) -> Tensor:
        return _as_words(values, self.bits)

    def decode(self, words: Tensor) -> Tensor:
        return _as_floats(words, self.bits)


MOST_CLASSES = 2**16  # that a word of 16 bits tells apart


@dataclass(frozen=True)
class TopK:
    """The k largest logits with their classes, and the log-sum-exp of all others, which are taken to be equal.

    What is kept has the exact probability of each of the k classes at T = 1, and of the others together. Takes logits
    (B, C) with k < C ≤ `MOST_CLASSES`.
    """

    classes: int
    k: int
    bits: int = 16
    is_partial: ClassVar[bool] = True

    @property
    def words(self) -> int:
        return self.k * self.bits // 16 + self.k + 2

    def encode(self, values: Tensor) -> Tensor:
        top = values.float().topk(self.k, dim=1)
        others = values.float().scatter(1, top.indices, -torch.inf).logsumexp(dim=1, keepdim=True)
        classes = top.indices.to(torch.int32).to(torch.int16)
        return torch.cat([_as_words(top.values, self.bits), classes, _as_words(others, 32)], dim=1)

    def decode(self, words: Tensor) -> Tensor:
        values, classes, others = words.split([self.k * self.bits // 16, self.k, 2], dim=1)
        each = _as_floats(others, 32) - torch.tensor(float(self.classes - self.k)).log()
        logits = each.expand(-1, self.classes).clone()
        return logits.scatter(1, classes.long() & 0xFFFF, _as_floats(values, self.bits))


def divergence(encoding: Encoding, logits: Tensor) -> float:
    """The mean KL(softmax(logits) ‖ softmax(what is kept of them)), in nats. Takes logits (B, C)."""
    kept = encoding.decode(encoding.encode(logits))
    exact = F.log_softmax(logits.float(), dim=1)
    return F.kl_div(F.log_softmax(kept, dim=1), exact, reduction="batchmean", log_target=True).item()


def _as_words(values: Tensor, bits: int) -> Tensor:
    if bits == 32:
        return values.float().contiguous().view(torch.int16)
    return values.float().clamp(-HALF_MAX, HALF_MAX).half().contiguous().view(torch.int16)


def _as_floats(words: Tensor, bits: int) -> Tensor:
    return words.contiguous().view(torch.float32 if bits == 32 else torch.float16).float()
