"""`python -m linckia.as_ray script.py [arguments]`: run a Ray program on Linckia, unchanged."""

from __future__ import annotations

import sys

from linckia.as_ray import run_script

if len(sys.argv) < 2:
    sys.exit("usage: python -m linckia.as_ray SCRIPT [ARGUMENTS]")
sys.path.pop(0)  # the directory that -m put there; the script's own takes its place
run_script(sys.argv[1], sys.argv[2:])
