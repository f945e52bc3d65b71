"""One network that a source reads by its taps."""

from collections.abc import Mapping

from torch import nn

from kd_lightning.taps import TapReader, check_taps, taps_of


class TappedNetwork:
    """What sources of one network have in common: its taps, of which those are read that terms take.

    `taps` holds names and addresses, as `kd_lightning.taps.find_taps` gives them; `logits` is the output where absent.
    `num_classes` tells the logits among several outputs.
    """

    network: nn.Module
    role: str

    def read_by(self, taps: Mapping[str, str] | None, num_classes: int | None) -> None:
        """Attach the taps to the network. Raises UserError for one that is not there."""
        self.taps = {"logits": "", **(taps or {})}
        self.signals = list(self.taps)
        self.num_classes = num_classes
        with taps_of(self.role):
            check_taps(self.network, self.taps)
        self.reader = self._reader_of({"logits"})

    def request(self, taps: Mapping[str, set[str]]) -> None:
        wanted = {"logits"}.union(*taps.values())
        if (self.reader.owner, set(self.reader.taps)) != (self.role, wanted):
            self.reader.remove()
            self.reader = self._reader_of(wanted)

    def _reader_of(self, taps: set[str]) -> TapReader:
        return TapReader(self.network, {tap: self.taps[tap] for tap in sorted(taps)}, self.role, self.num_classes)
