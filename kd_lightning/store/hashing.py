"""A 32-bit hash of integers and of tensors of them.

Written in 64-bit integers, none of whose products leaves the 63 bits that every device multiplies alike.
"""

from typing import TypeVar

from torch import Tensor

Word = TypeVar("Word", int, Tensor)

MASK = 0xFFFFFFFF
# The multiply-and-shift constants come from a search for low bias; both are below 2**31.
FIRST, SECOND = 0x21F0AAAD, 0x735A2D97


def scramble(word: Word) -> Word:
    """A bijection of the integers below 2**32 (a Python int or an int64 tensor) that looks like chance."""
    word = ((word ^ (word >> 16)) * FIRST) & MASK
    word = ((word ^ (word >> 15)) * SECOND) & MASK
    return word ^ (word >> 15)


def fold(*numbers: int) -> int:
    """One hash below 2**32 for a sequence of integers, of which the order counts and 64 bits each."""
    state = 0
    for number in numbers:
        for part in (number & MASK, (number >> 32) & MASK):
            state = scramble((state + part + 0x9E3779B9) & MASK)
    return state
