"""A pace of one's own: the share in use grows as half a cosine wave, slow, fast, slow."""

import math

from kd_lightning.curricula import Pace


class Wave(Pace):
    """From `start` to all at `full_at`, as every pace."""

    def grown(self, time: float) -> float:
        return (1 - math.cos(math.pi * time)) / 2
