"""Weights & Biases: one run for one training."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_wandb_run() -> Iterator[None]:
    """End whatever Weights & Biases run the block began, as failed where the block raises.

    Without this the next training of the same process would go on in it.
    """
    exit_code = 1
    try:
        yield
        exit_code = 0
    finally:
        if "wandb" in sys.modules:
            import wandb

            if wandb.run is not None:
                wandb.finish(exit_code=exit_code)
