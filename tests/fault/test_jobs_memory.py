"""A job whose driver eats all memory of its node, for real, in a control group of 256 MiB: a budget of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import Programs

from linckia.testing.memory_group import MemoryGroup

pytestmark = [pytest.mark.fault, pytest.mark.row("S25", "7.20")]
DRIVER = """
import os, time
held = []
for _ in range(200 if os.environ["LINCKIA_JOB_ATTEMPT"] == "1" else 1):  # 400 MiB: more than there is
    held.append(bytearray(b"x") * (2 << 20))
    time.sleep(0.01)  # sleep: it grows at a pace, so that a loaded machine can follow
print("modest")
"""
PROGRAM = """
    import json, os, sys
    from pathlib import Path
    Path(sys.argv[2]).write_text(str(os.getpid()))
    import linckia
    from linckia.job_submission import JobSubmissionClient

    linckia.init(address="local", num_cpus=2, object_store_memory=80 << 20, log_to_driver=False)
    client = JobSubmissionClient()
    command = f"{sys.executable} {sys.argv[1]}"
    jobs = [client.submit_job(entrypoint=command, max_oom_retries=budget) for budget in (1, 0)]
    for job in jobs:
        info = client.wait_job(job)
        causes = [each.cause for each in info.attempts]
        print(json.dumps([info.status, causes, info.attempts[0].detail, client.get_job_logs(job)]))
    linckia.shutdown()
"""


@pytest.fixture
def group(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryGroup]:
    try:
        made = MemoryGroup(256 << 20)
    except OSError as error:
        pytest.skip(f"no control group for memory can be made here: {error}")
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.75")
    yield made
    programs.close()
    made.remove()


def test_a_driver_without_memory_is_tried_again_at_no_cost_of_a_retry(
    group: MemoryGroup, programs: Programs, tmp_path: Path
) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    program = programs.start(PROGRAM, str(tmp_path / "driver.py"), group.procs)
    status, causes, detail, text = json.loads(program.line(60))
    assert (status, causes) == ("SUCCEEDED", ["out_of_memory", "succeeded"])
    assert "memory" in detail
    assert text.splitlines()[-1] == "modest"
    status, causes, *_ = json.loads(program.line(60))
    assert (status, causes) == ("FAILED", ["out_of_memory"])
    assert program.ended() == 0
