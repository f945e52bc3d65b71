"""The configs of runs that began here, and the networks that came of them: what they build is the user's own, and
trusted.
"""

import hashlib
from pathlib import Path

from kd_lightning.store.folders import cache_dir

OWN_RUNS = "runs"  # a folder of the user's store, with a file for each config of a run that began here


def remember(text: str) -> None:
    """Note that a run with this config began here; a store that cannot be written notes nothing."""
    note = _note(text)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
    except OSError:
        return


def is_remembered(text: str) -> bool:
    """Whether a run with exactly this config began here."""
    return _note(text).exists()


def _note(text: str) -> Path:
    return cache_dir() / OWN_RUNS / hashlib.sha256(text.encode()).hexdigest()
