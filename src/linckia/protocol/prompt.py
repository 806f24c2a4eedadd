"""What a node acknowledges at once, and the head waits for: others can be asked when it does not."""

from __future__ import annotations

from typing import Final

from linckia.protocol.gcs_messages import StartActor
from linckia.protocol.placement_messages import PrepareBundles

PROMPT: Final = frozenset({StartActor, PrepareBundles})
