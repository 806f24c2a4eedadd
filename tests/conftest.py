"""For all tests: Hypothesis judges by what is computed, not by how long it takes on a busy machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("linckia", deadline=None)
settings.load_profile("linckia")
