"""A job: its program fails once and is tried again, then loses its node and goes on elsewhere from its checkpoint."""

import pathlib
import sys
import tempfile

import linckia
from linckia.cluster_utils import Cluster
from linckia.job_submission import JobSubmissionClient

PROGRAM = """
import os, signal, sys
import linckia

linckia.init()
attempt = int(os.environ["LINCKIA_JOB_ATTEMPT"])

@linckia.remote
def train(epoch):
    return epoch

with linckia.checkpoint("epochs", dir=sys.argv[1]) as ckpt:
    for epoch in range(ckpt.load(0), 6):
        linckia.get(train.remote(epoch))
        ckpt.save(epoch + 1)
        print("epoch", epoch, flush=True)
        if epoch == 1 and attempt == 1:
            sys.exit(75)  # the application's failure
        if epoch == 3 and attempt == 2:
            print("waits", flush=True)
            signal.pause()  # until its node is taken away
"""

folder = pathlib.Path(tempfile.mkdtemp())  # with several machines the checkpoints need a directory that all share
(folder / "train.py").write_text(PROGRAM)

with Cluster(initialize_head=True, head_node_args={"num_cpus": 0}) as cluster:
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    with JobSubmissionClient(cluster.address) as client:
        job = client.submit_job(
            entrypoint=f"{sys.executable} train.py {folder}/states",
            runtime_env={"working_dir": str(folder)},
            max_retries=1,
            retry_backoff_s=0.1,
            retry_exit_codes=[75],
        )
        for text in client.follow_job_logs(job):
            print(text, end="")
            if "waits" in text:
                home = client.get_job_info(job).driver_node_id
                (victim,) = [node for node in cluster.worker_nodes if node.node_id == home]
                victim.kill()  # SIGKILL, as if the machine had lost its power
        for attempt in client.get_job_info(job).attempts:
            print(f"attempt {attempt.number}: {attempt.cause}, exit code {attempt.exit_code}: {attempt.detail}")
        print("the job has", client.get_job_status(job))
    assert not linckia.is_initialized()
