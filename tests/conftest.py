"""For all tests: Hypothesis judges by what is computed, not by how long it takes on a busy machine. Heads have no
dashboard unless a test asks for one: hundreds of them start here.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("linckia", deadline=None)
settings.load_profile("linckia")
os.environ.setdefault("LINCKIA_INCLUDE_DASHBOARD", "0")
