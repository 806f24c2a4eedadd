"""What a node heard in each term of the heads: that nothing of a term that had ended was carried out can be counted.

Pure; kept by ``raylet/gcs_link.py``, which writes ``ended`` into the node's log whenever another term begins, and read
from there by `linckia chaos`.
"""

from __future__ import annotations


class Terms:
    """``epoch``: the highest that is known, 0 before the first."""

    def __init__(self) -> None:
        self.epoch = 0
        self.heard_count, self.last_heard_s = 0, 0.0
        self.refused_count = 0
        """Over all terms: welcomes and calls of heads whose term had ended, and messages of their connections."""

    def heard(self, now_s: float) -> None:
        """A message of the head of this term is carried out."""
        self.heard_count += 1
        self.last_heard_s = now_s

    def refused(self, count: int = 1) -> str:
        """So many things of a term that had ended are not carried out; what there is to say of all so far."""
        self.refused_count += count
        return f"refused of ended terms so far: {self.refused_count}"

    def begin(self, epoch: int) -> str:
        """Another term, or the same with another session; what there is to say of the last, empty if nothing."""
        ended = ""
        if self.epoch and epoch != self.epoch:
            ended = (
                f"term {self.epoch} ended here: {self.heard_count} messages of it, the last at "
                f"{self.last_heard_s:.6f} s of the monotonic clock; refused of ended terms so far: {self.refused_count}"
            )
        if epoch != self.epoch:
            self.epoch, self.heard_count, self.last_heard_s = epoch, 0, 0.0
        return ended
