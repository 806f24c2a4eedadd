"""The frozen nouns that travel between processes inside messages: actors, jobs, nodes. No behaviour."""

from __future__ import annotations

import msgspec

from linckia.model.wire import Address, PushExtras


class MethodSpec(msgspec.Struct, array_like=True, frozen=True):
    """What a caller must know of an actor method."""

    name: str
    num_returns: int  # -1 streaming
    max_task_retries: int | None
    retry_exceptions: bytes
    concurrency_group: str
    is_async: bool
    is_generator: bool
    backpressure: int = -1
    signature: bytes = b""  # pickled inspect.Signature, for argument checks at the caller
    listed: bool | None = None  # enable_task_events; None: as the actor says
    retry_backoff_s: float = 0.0  # first pause between attempts
    max_backoff_s: float = 0.0  # 0: the default


class ActorSpec(msgspec.Struct, array_like=True, frozen=True):
    """Everything needed to create an actor, again and again. ``lifetime_resources`` are held; ``placement_resources``
    only decide whether a node is feasible (R 2.2, 15).
    """

    actor_id: bytes
    job_id: bytes
    class_id: bytes
    class_blob: bytes
    class_name: str
    class_module: str
    args: bytes
    extras: PushExtras | None
    owner: Address
    name: str
    namespace: str
    detached: bool
    get_if_exists: bool
    max_restarts: int
    max_task_retries: int
    max_concurrency: int
    is_async: bool
    concurrency_groups: dict[str, int]
    max_pending_calls: int
    lifetime_resources: dict[str, float]
    placement_resources: dict[str, float]
    methods: list[MethodSpec]
    runtime_env: bytes = b""
    out_of_order: bool = False
    strategy: bytes = b""  # encoded model.placement.Strategy
    capture_child_tasks: bool = False  # in a placement group: its children stay there
    listed: bool = True  # enable_task_events: the state API tells of its constructor
    checkpoint: bytes = b""  # encoded model.checkpoints.CheckpointPolicy


class ActorInfo(msgspec.Struct, array_like=True, frozen=True):
    """What others see of an actor. ``state`` is core/actors' state name."""

    actor_id: bytes
    job_id: bytes
    class_name: str
    class_module: str
    name: str
    namespace: str
    state: str
    worker: Address | None
    pid: int
    restarts: int
    detached: bool
    owner: Address
    max_task_retries: int
    max_pending_calls: int
    is_async: bool
    out_of_order: bool
    methods: list[MethodSpec]
    death_cause: str = ""


PACKAGE_SCHEME = "gcs://"
"""URIs of packages that the head keeps begin so, as Ray's do."""


class JobConfig(msgspec.Struct, array_like=True, frozen=True):
    """A driver's settings for its workers. ``sys_path`` and ``cwd`` make imports of the driver's modules work."""

    namespace: str
    sys_path: list[str]
    cwd: str
    entrypoint: str
    log_to_driver: bool = True
    as_ray: bool = False
    default_actor_lifetime: str = "non_detached"
    env_vars: dict[str, str] = {}
    metadata: dict[str, str] = {}
    logging_config: bytes = b""  # pickled LoggingConfig, empty for none
    profiling: bool = False  # workers report task events for timeline()
    working_dir: str = ""  # URI of a package that becomes the workers' directory
    py_modules: list[str] = []  # URIs of packages that become importable


class NodeInfo(msgspec.Struct, array_like=True, frozen=True):
    """A node as the GCS knows it."""

    node_id: bytes
    node_ip: str
    hostname: str
    endpoint: str
    pid: int
    resources: dict[str, float]
    labels: dict[str, str]
    is_head: bool
    name: str = ""


def describe_actor(
    spec: ActorSpec, state: str, worker: Address | None = None, pid: int = 0, restarts: int = 0, death_cause: str = ""
) -> ActorInfo:
    """What others see of the actor that ``spec`` creates."""
    return ActorInfo(
        actor_id=spec.actor_id,
        job_id=spec.job_id,
        class_name=spec.class_name,
        class_module=spec.class_module,
        name=spec.name,
        namespace=spec.namespace,
        state=state,
        worker=worker,
        pid=pid,
        restarts=restarts,
        detached=spec.detached,
        owner=spec.owner,
        max_task_retries=spec.max_task_retries,
        max_pending_calls=spec.max_pending_calls,
        is_async=spec.is_async,
        out_of_order=spec.out_of_order,
        methods=spec.methods,
        death_cause=death_cause,
    )


decode_actor_info = msgspec.msgpack.Decoder(ActorInfo).decode
"""Bytes -> ActorInfo."""

encode = msgspec.msgpack.Encoder().encode
"""Any of these nouns -> bytes."""
