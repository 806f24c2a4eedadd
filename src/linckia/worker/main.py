"""The worker process: connect, register with the raylet, execute until told to exit. Called by the zygote's child."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import sys
import time
from typing import Any

import cloudpickle  # noqa: F401  (imported before the fork: workers share its pages)
import msgspec
from setproctitle import setproctitle

import linckia.exceptions  # (cloudpickle pickles classes of modules that are not loaded by value)
import linckia.serialization.pickler  # (before the fork, as the next two: every worker needs them soon, and one whose
import linckia.shm.arena  # task has opened too many files cannot read a module any more)
import linckia.shm.segment  # noqa: F401
from linckia.base import errors
from linckia.host import environment
from linckia.model.specs import PACKAGE_SCHEME, ActorSpec, JobConfig
from linckia.protocol import messages as m
from linckia.rpc import tls
from linckia.rpc.handshake import Identity
from linckia.worker import current, output, signals
from linckia.worker.dispatch import Handler
from linckia.worker.executor import Executor
from linckia.worker.runtime import Runtime
from linckia.worker.tasks import Peer

_decode_job = msgspec.msgpack.Decoder(JobConfig).decode
_decode_actor = msgspec.msgpack.Decoder(ActorSpec).decode


class WorkerProcess:
    """Messages from the raylet that concern the process as a whole."""

    def __init__(self, runtime: Runtime, executor: Executor) -> None:
        self.runtime, self.executor = runtime, executor
        self.job: JobConfig | None = None
        commands: dict[type, Handler] = {
            m.AssignJob: self._on_assign,
            m.ActorStarting: self._on_actor,
            m.TerminateActor: self._on_terminate,
            m.ExitWorker: self._on_exit,
            m.TrimMemory: lambda _peer, _message: self.executor.controls.append(_give_back),
        }
        runtime.handlers.update({kind: self._from_node(handler) for kind, handler in commands.items()})
        runtime.on_cluster_lost = lambda reason: os._exit(1)

    def _from_node(self, handler: Handler) -> Handler:
        """What only this worker's node may say; anybody else who says it loses the connection."""

        def handle(peer: Peer, message: Any) -> None:
            if peer is not self.runtime.raylet_peer:
                raise PermissionError(
                    f"{type(message).__name__} is for the node to say, not for {peer.conn.peer_role}s"
                )
            handler(peer, message)

        return handle

    def _on_assign(self, _peer: Peer, message: m.AssignJob) -> None:
        runtime = self.runtime
        runtime.job_id = message.job_id
        runtime.task_suffix = b"\xff" * 12 + message.job_id
        runtime.node_ip, runtime.session_name = message.node_ip, message.session_name
        runtime.objects.capacity = message.store_capacity
        self.executor.controls.append(lambda: self._enter_job(_decode_job(message.config)))
        if message.runtime_env:
            self.executor.controls.append(lambda: self._enter_environment(message.runtime_env))

    def _enter_job(self, job: JobConfig) -> None:
        self.job = self.runtime.job_config = job
        for entry in reversed(job.sys_path):
            if entry not in sys.path:
                sys.path.insert(0, entry)
        if job.cwd and os.path.isdir(job.cwd):
            os.chdir(job.cwd)
        environment.update(job.env_vars)
        given = {"env_vars": dict(job.env_vars), "working_dir": job.working_dir, "py_modules": list(job.py_modules)}
        self.runtime.runtime_env = {field: value for field, value in given.items() if value}
        if job.working_dir or job.py_modules:
            self._enter_packages(job.working_dir, job.py_modules)
        if job.profiling:
            from linckia.worker.task_events import Profile  # noqa: PLC0415  (only jobs that asked for it)

            self.executor.profile = Profile(self.runtime, self.executor)
        if job.logging_config:
            pickle.loads(job.logging_config).apply(self.executor)
        if job.as_ray:
            importlib.import_module("linckia.as_ray").install()  # by name: it stands above this room and is optional

    def _enter_environment(self, runtime_env: bytes) -> None:
        """``env_vars`` of a runtime environment, ``${NAME}`` replaced (R 9.7), and packages that the job uploaded."""
        fields = json.loads(runtime_env)
        variables = fields.get("env_vars") or {}
        merged = {**self.runtime.runtime_env.get("env_vars", {}), **variables}
        self.runtime.runtime_env = {**self.runtime.runtime_env, **fields, "env_vars": merged}
        environment.update({name: environment.expand(value) for name, value in variables.items()})
        places = [fields.get("working_dir") or "", *(fields.get("py_modules") or ())]
        uploaded = [place if place.startswith(PACKAGE_SCHEME) else "" for place in places]
        if any(uploaded):
            self._enter_packages(uploaded[0], [uri for uri in uploaded[1:] if uri])

    def _enter_packages(self, working_dir: str, py_modules: list[str]) -> None:
        from linckia.worker import packages  # noqa: PLC0415  (few jobs have directories)

        try:
            packages.enter(self.runtime, working_dir, py_modules)
        except errors.RuntimeEnvSetupError as error:
            self.executor.setup_failure = error

    def _on_actor(self, _peer: Peer, message: m.ActorStarting) -> None:
        from linckia.worker.actor_host import ActorHost  # noqa: PLC0415  (asyncio only where an actor lives)

        host = ActorHost(self.runtime, self.executor, _decode_actor(message.spec), message.restarts)
        self.executor.actor = host
        self.executor.source = host.spec.class_name
        self.executor.controls.append(lambda: self.executor.assign(message.assigned))
        self.executor.controls.append(host.start)

    def _on_terminate(self, _peer: Peer, _message: m.TerminateActor) -> None:
        if self.executor.actor is not None:
            self.executor.actor.terminate()

    def _on_exit(self, _peer: Peer, message: m.ExitWorker) -> None:
        self.executor.exit(message.reason, intended=True)
        if self.executor.actor is not None:
            self.runtime.history.leave(self.runtime)
            os._exit(0)


def _give_back() -> None:
    from linckia.host import process_memory  # noqa: PLC0415  (ctypes; few workers are asked)

    process_memory.give_back()


def run_worker(config: dict[str, Any]) -> None:
    """Never returns; the process ends with the worker."""
    identity = Identity("worker", config["worker_id"], config["token"])
    runtime = Runtime(identity, config["raylet_endpoint"], config["listen_endpoint"])
    runtime.reactor.on_error = output.report_failure
    runtime.node_ip = config["node_ip"]
    runtime.session_name = config["session_name"]
    runtime.session_dir = config["session_dir"]
    runtime.objects.segment_fd = config["segment_fd"]
    runtime.objects.capacity = config["store_capacity"]
    executor = runtime.executor = Executor(runtime)
    WorkerProcess(runtime, executor)
    current.runtime = runtime

    def source() -> str:
        return executor.source or executor.task_name()

    output.install(source)
    setproctitle("linckia::IDLE")
    signals.install(runtime, worker=True)
    runtime.raylet.post(m.RegisterWorker(identity.worker_id, os.getpid(), runtime.address.endpoint))
    runtime.settle_in(config["node_id"], config.get("public_prefix", ""))
    tls.use_paths(runtime.reactor, config.get("tls", []))
    try:
        runtime.progress.start_background()
    except RuntimeError:  # the limit of threads: the node tries again, and says so when it has to give up
        os._exit(os.EX_TEMPFAIL)
    executor.loop()
    sys.stdout.flush()
    sys.stderr.flush()
    runtime.history.leave(runtime)
    deadline_s = time.monotonic() + 0.1
    while runtime.reactor.dirty and time.monotonic() < deadline_s:
        runtime.reactor.flush_dirty()
    os._exit(0)
