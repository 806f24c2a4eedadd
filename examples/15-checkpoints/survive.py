"""Checkpoints: an actor and a long task are killed, and go on where they were."""

import os
import pathlib
import signal
import tempfile

import linckia

folder = pathlib.Path(tempfile.mkdtemp())  # with several machines: a directory that all of them share


@linckia.remote(max_restarts=-1, max_task_retries=-1, checkpoint=linckia.CheckpointPolicy(every_calls=1, dir=folder))
class Till:
    """Its state is saved before each answer."""

    def __init__(self):
        self.sales = []

    def sell(self, item):
        self.sales.append(item)
        return len(self.sales)

    def process(self):
        return os.getpid()

    def restored(self):
        return linckia.get_runtime_context().restored_checkpoint


@linckia.remote
def train(steps):
    """Dies in the middle of its first attempt."""
    with linckia.checkpoint("model", dir=folder) as ckpt:
        step, begun_at = ckpt.load(0), ckpt.info
        while step < steps:
            if step == steps // 2 and begun_at is None:
                os.kill(os.getpid(), signal.SIGKILL)
            step += 1
            ckpt.save(step)
    return f"{steps} steps, of which the last attempt did {steps - steps // 2}"


with linckia.init():
    till = Till.remote()
    linckia.get([till.sell.remote(item) for item in ("tea", "bread", "salt")])
    os.kill(linckia.get(till.process.remote()), signal.SIGKILL)
    print("sales after the crash:", linckia.get(till.sell.remote("soap")))
    info = linckia.get(till.restored.remote())
    print(f"restored checkpoint {info.number}, {info.calls_since} calls lost")
    print(linckia.get(train.remote(10)))
