"""Connect this process as a driver and disconnect again. Imported by ``session.py`` while the node process boots."""

from __future__ import annotations

import os
import pickle
import sys
from typing import TYPE_CHECKING, Any

import linckia.exceptions  # noqa: F401  (cloudpickle pickles classes of modules that are not loaded by value)
from linckia.api.log_printer import LogPrinter
from linckia.base import errors
from linckia.host import entropy, environment
from linckia.model.specs import JobConfig, encode
from linckia.protocol import messages as m
from linckia.rpc.handshake import Identity
from linckia.serialization import values  # noqa: F401  (loaded here, while the node boots)
from linckia.worker import submission  # noqa: F401  (ditto)
from linckia.worker.output import report_failure
from linckia.worker.runtime import Runtime

if TYPE_CHECKING:
    from linckia.api.session_options import InitOptions
    from linckia.node.launch import NodeProcess

REGISTER_TIMEOUT_S = 10.0
LOG_DRAIN_S = 0.5


def connect(endpoint: str, session_dir: str, token_path: str, options: InitOptions) -> Runtime:
    """A registered runtime. ConnectionError when nobody listens, AuthenticationError for a wrong token."""
    worker_id = entropy.random_bytes(28)
    with open(token_path, "rb") as file:
        token = file.read().strip()
    identity = Identity("driver", worker_id, token)
    listen = f"unix:{session_dir}/sockets/d-{worker_id.hex()[:12]}.sock"
    try:
        runtime = Runtime(identity, endpoint, listen)
        runtime.reactor.on_error = report_failure
    except OSError as error:
        raise ConnectionError(f"cannot connect to the cluster at {endpoint}: {error}") from error
    runtime.runtime_env = env = _runtime_env(runtime, options)
    config = _job_config(options, env)
    runtime.job_config = config
    runtime.session_dir = session_dir
    printer = LogPrinter(prefix=options.given.get("logging_config") is None) if options.log_to_driver else None
    runtime.log_printer = printer
    runtime.on_log_lines = printer.print if printer is not None else None
    runtime.on_driver_message = _show_message
    if not environment.option_on("IGNORE_UNHANDLED_ERRORS", default=False):
        runtime.on_unseen_error = _show_unseen
    request = m.RegisterDriver(runtime.next_rid(), worker_id, os.getpid(), listen, encode(config))
    try:
        answer = runtime.call(runtime.raylet, request, REGISTER_TIMEOUT_S)
    except errors.RaySystemError:
        runtime.close()
        raise
    runtime.job_id = answer.job_id
    runtime.task_suffix = b"\xff" * 12 + answer.job_id
    runtime.settle_in(answer.node_id, answer.public_prefix)
    if answer.tls:
        from linckia.rpc import tls  # noqa: PLC0415  (only in clusters that use TLS)

        tls.use_paths(runtime.reactor, answer.tls)
    runtime.node_ip = answer.node_ip
    runtime.session_name = answer.session_name
    runtime.objects.capacity = answer.store_capacity
    runtime.progress.start_background()
    return runtime


def _runtime_env(runtime: Runtime, options: InitOptions) -> dict[str, Any]:
    """With the directories of this machine in the cluster; before the job is known, whose workers will want them."""
    env = dict(options.given.get("runtime_env") or {})
    if not env.get("working_dir") and not env.get("py_modules"):
        return env
    from linckia.api.runtime_envs import uploaded  # noqa: PLC0415  (start-up time)

    try:
        return uploaded(runtime, env)
    except (ValueError, errors.RaySystemError):
        runtime.close()
        raise


def _job_config(options: InitOptions, env: dict[str, Any]) -> JobConfig:
    given = options.job_config
    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None)
    paths = [os.path.dirname(os.path.abspath(script))] if script else []
    paths.append(os.getcwd())
    paths += [os.path.abspath(path) for path in sys.path if path and "site-packages" not in path]
    logging_config = options.given.get("logging_config")
    as_ray = sys.modules.get("linckia.as_ray")
    return JobConfig(
        namespace=options.namespace or getattr(given, "ray_namespace", None) or entropy.random_bytes(16).hex(),
        sys_path=list(dict.fromkeys(paths)),
        cwd="" if env.get("working_dir") else os.getcwd(),
        entrypoint=" ".join(sys.argv) or "python",
        log_to_driver=options.log_to_driver,
        as_ray=as_ray is not None and as_ray.is_installed(),
        logging_config=pickle.dumps(logging_config) if logging_config is not None else b"",
        env_vars=dict(env.get("env_vars") or {}),
        metadata={**(getattr(given, "metadata", None) or {}), **options.given.get("_metadata", {})},
        working_dir=env.get("working_dir") or "",
        py_modules=list(env.get("py_modules") or ()),
        profiling=environment.option_on("PROFILING", default=False),
        default_actor_lifetime=getattr(given, "default_actor_lifetime", None) or "non_detached",
    )


def _show_message(message: m.DriverMessage) -> None:
    sys.stderr.write(f"linckia {message.level}: {message.text}\n")


def _show_unseen(data: bytes) -> None:
    """Application errors only: what the system did has been told already."""
    error = errors.decode_error(data, pickle.loads)
    if isinstance(error, errors.RayTaskError):
        sys.stderr.write(
            f"Unhandled error (nobody called get() on it; LINCKIA_IGNORE_UNHANDLED_ERRORS=1 silences this):\n{error}\n"
        )


def disconnect(runtime: Runtime, node: NodeProcess | None) -> None:
    """Leave; with our own node: have it stop first, so that the last output of workers is shown."""
    if node is not None and not runtime.raylet.closed:
        runtime.closing = True
        ended = runtime.flag()
        runtime.on_raylet_closed = lambda: setattr(ended, "state", 1)
        runtime.raylet.send(m.Stop(runtime.next_rid(), "the driver called shutdown()"))
        runtime.wait_closed(ended, LOG_DRAIN_S)
    if runtime.log_printer is not None:
        runtime.log_printer.flush()
    runtime.close()
    if node is not None:
        node.stop()
