"""What people do in notebooks, without Jupyter: cells that run again, and a `get` that is interrupted."""

from __future__ import annotations

import pytest

from tests.e2e.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.row("P38")]

RE_RUN = """
import linckia
linckia.init(num_cpus=1)
cell = '''
LIMIT = {limit}
@linckia.remote
def f():
    return helper() + LIMIT
def helper():
    return {limit}
@linckia.remote
class A:
    def get(self):
        return LIMIT
'''
for limit in (1, 20):
    exec(compile(cell.format(limit=limit), f"<cell {limit}>", "exec"), globals())
    print(linckia.get(f.remote()), linckia.get(A.remote().get.remote()))
"""
INTERRUPT = """
import os, signal, threading
import linckia
linckia.init(num_cpus=2)

@linckia.remote
def interrupt_the_driver(pid):
    os.kill(pid, signal.SIGINT)
    threading.Event().wait(60)

@linckia.remote
def f():
    return "still works"

try:
    ref = interrupt_the_driver.remote(os.getpid())
    linckia.get(ref)
except KeyboardInterrupt:
    print("interrupted")
linckia.cancel(ref, force=True)
print(linckia.get(f.remote()))
"""


def test_a_cell_that_runs_again_redefines_its_functions(world: World) -> None:
    assert world.python(world.script(RE_RUN)) == "2 1\n40 20\n"


def test_an_interrupted_get_leaves_the_session_usable(world: World) -> None:
    assert world.python(world.script(INTERRUPT)) == "interrupted\nstill works\n"
