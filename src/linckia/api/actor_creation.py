"""Create an actor: pack the constructor's arguments, register with the GCS, make the handle. Called by
``api/actor.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from linckia.api.actor import ActorHandle
from linckia.api.options_group import group_target
from linckia.base import errors
from linckia.host import entropy
from linckia.model.checkpoints import encode_policy
from linckia.model.specs import ActorInfo, ActorSpec, MethodSpec, decode_actor_info, describe_actor, encode
from linckia.protocol import messages as m
from linckia.worker.borrowing import new_scope
from linckia.worker.submission import pack_constructor

if TYPE_CHECKING:
    from linckia.api.actor_class_info import ClassInfo
    from linckia.api.options import ActorOptions
    from linckia.worker.runtime import Runtime


def create_actor(
    runtime: Runtime,
    info: ClassInfo,
    options: ActorOptions,
    class_id: bytes,
    blob: bytes,
    arguments: tuple[tuple[Any, ...], dict[str, Any]],
) -> ActorHandle[Any]:
    """Register and return the handle; named actors wait for the GCS's word (ActorAlreadyExistsError)."""
    _check_groups(info, options)
    _check_checkpoint(info, options)
    spec = _spec(runtime, info, options, class_id, blob)
    actor_id, detached = spec.actor_id, spec.detached
    client = runtime.actors.client(spec.actor_id, out_of_order=spec.out_of_order, class_name=info.name, subscribe=False)
    constructor = pack_constructor(runtime, arguments)
    ready = constructor.ready()
    if ready:
        spec = _with_arguments(spec, constructor)
    message = m.RegisterActor(runtime.next_rid(), encode(spec), ready)
    if spec.name:
        answer = runtime.call(runtime.raylet, message)
        if answer.existing:
            del runtime.actors.clients[actor_id]
            return ActorHandle(decode_actor_info(answer.existing), None)
        if answer.error:
            del runtime.actors.clients[actor_id]
            raise errors.ActorAlreadyExistsError(answer.error)
    else:
        runtime.raylet.send(message)
    if not ready:
        constructor.when_ready(lambda error: _send_arguments(runtime, actor_id, constructor, error))
    client.constructor = constructor  # its references live as long as the actor may be restarted
    scope = None if detached else new_scope(runtime, actor_id)
    return ActorHandle(actor_info(spec), scope)


def _spec(runtime: Runtime, info: ClassInfo, options: ActorOptions, class_id: bytes, blob: bytes) -> ActorSpec:
    """What the GCS needs to create the actor, the arguments excepted."""
    job = runtime.job_config
    detached = (options.lifetime or job.default_actor_lifetime) == "detached"
    actor_id = entropy.random_bytes(12) + runtime.job_id
    lifetime, placement = options.lifetime_resources(), options.resources_for_placement()
    target = group_target(options, placement)
    if target is not None:
        lifetime, placement = target.asked(lifetime), target.asked(placement)
    concurrency, out_of_order = options.resolve_concurrency(info.is_async)
    return ActorSpec(
        actor_id=actor_id,
        job_id=runtime.job_id,
        class_id=class_id,
        class_blob=blob,
        class_name=info.name,
        class_module=info.cls.__module__,
        args=b"",
        extras=None,
        owner=runtime.address,
        name=options.name or "",
        namespace=options.namespace or job.namespace,
        detached=detached,
        get_if_exists=bool(options.get_if_exists),
        max_restarts=options.max_restarts,
        max_task_retries=options.max_task_retries,
        max_concurrency=concurrency,
        is_async=info.is_async,
        concurrency_groups=dict(options.concurrency_groups or {}),
        max_pending_calls=options.max_pending_calls,
        lifetime_resources=lifetime,
        placement_resources=placement,
        methods=_methods(info, options),
        out_of_order=out_of_order,
        runtime_env=options.runtime_env_key().encode(),
        strategy=options.strategy(),
        capture_child_tasks=target is not None and target.captures,
        listed=options.enable_task_events,
        checkpoint=encode_policy(options.checkpoint) if options.checkpoint is not None else b"",
    )


def _methods(info: ClassInfo, options: ActorOptions) -> list[MethodSpec]:
    """The methods; generators without a limit of their own take the actor's, and so with enable_task_events."""
    methods, limit = info.methods, options.actor_generator_backpressure_num_objects
    if limit > 0:
        methods = [
            msgspec.structs.replace(method, backpressure=limit)
            if method.is_generator and method.backpressure <= 0
            else method
            for method in methods
        ]
    if not options.enable_task_events:
        methods = [
            msgspec.structs.replace(method, listed=False) if method.listed is None else method for method in methods
        ]
    return methods


def _check_groups(info: ClassInfo, options: ActorOptions) -> None:
    declared = set(options.concurrency_groups or {})
    unknown = sorted(info.groups - declared)
    assert not unknown, (
        f"methods of {info.name} name concurrency groups {unknown}; concurrency_groups declares {sorted(declared)}"
    )


def _check_checkpoint(info: ClassInfo, options: ActorOptions) -> None:
    if options.checkpoint is None:
        return
    if not options.max_restarts:
        raise ValueError(
            f"actor class {info.name} has checkpoint=... but max_restarts=0, so it would never be restored"
        )
    has = [name for name in ("save_checkpoint", "load_checkpoint") if hasattr(info.cls, name)]
    if len(has) == 1:
        raise TypeError(
            f"actor class {info.name} has {has[0]} alone; linckia.Checkpointable needs save_checkpoint() and "
            "load_checkpoint(state, info)"
        )


def _with_arguments(spec: ActorSpec, constructor: Any) -> ActorSpec:
    return msgspec.structs.replace(spec, args=constructor.args, extras=constructor.extras)


def _send_arguments(runtime: Runtime, actor_id: bytes, constructor: Any, error: bytes | None) -> None:
    runtime.raylet.send(m.ActorArgs(actor_id, constructor.args, constructor.extras, error))


def actor_info(spec: ActorSpec) -> ActorInfo:
    """What a handle knows of an actor that was just asked for."""
    return describe_actor(spec, "PENDING_CREATION")
