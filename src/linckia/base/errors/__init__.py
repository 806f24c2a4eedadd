"""Every error a user of Linckia can meet: Ray's names and bases, and for each whose fault it is and whether to retry.

    RayError  [origin: "application" | "system"; retryable; str() = what happened, then what to do next]
    ├── RayTaskError                               A   the user's code raised; see as_instanceof_cause()
    ├── TaskCancelledError                         A
    ├── WorkerCrashedError, NodeDiedError          S r
    ├── LocalRayletDiedError                       S
    ├── OutOfMemoryError                           S r
    ├── RayActorError                              S   (A when the constructor raised)
    │   ├── ActorDiedError                         S     final
    │   └── ActorUnavailableError                  S r   transient
    ├── ActorAlreadyExistsError      (+ValueError) A
    ├── ActorHandleNotFoundError     (+ValueError) A
    ├── CheckpointError                            S   (A when the state cannot be pickled)
    ├── TaskUnschedulableError, ActorUnschedulableError          A
    ├── TaskPlacementGroupRemoved, ActorPlacementGroupRemoved    A
    ├── PendingCallsLimitExceeded                  A r
    ├── RuntimeEnvSetupError                       A
    ├── GetTimeoutError            (+TimeoutError) A r
    ├── ObjectStoreFullError, OutOfDiskError       S r
    ├── ObjectLostError                            S
    │   ├── OwnerDiedError                         S
    │   ├── ObjectFetchTimedOutError               S r
    │   ├── ObjectReconstructionFailedError        S     .reason
    │   ├── ObjectFreedError                       A
    │   └── ReferenceCountingAssertionError  (+AssertionError)   S
    ├── RaySystemError                             S
    │   ├── StreamingGeneratorReplayInconsistentError            A
    │   ├── RayChannelError                        S
    │   │   └── RayChannelTimeoutError (+TimeoutError)           S r
    │   ├── RayCgraphCapacityExceeded              A r
    │   └── RayDirectTransportError                S
    ├── RpcError                                   S r
    ├── AuthenticationError                        A
    ├── UserCodeException, CrossLanguageError, UnserializableException               A
    ├── OufOfBandObjectRefSerializationException   A
    └── AsyncioActorExit, PlasmaObjectNotAvailable, ObjectRefStreamEndOfStreamError  internal

A = application, S = system, r = retryable: the same call, unchanged, may succeed later.
Users import the classes from `linckia.exceptions`; the engine also needs the functions at the end of the list. Nothing
here logs or decides about retries.
"""

from __future__ import annotations

from linckia.base.errors.actors import (
    ActorAlreadyExistsError,
    ActorDiedError,
    ActorDiedErrorContext,
    ActorHandleNotFoundError,
    ActorUnavailableError,
    CheckpointError,
    RayActorError,
)
from linckia.base.errors.capture import (
    ProcessInfo,
    make_dependency_error,
    make_task_error,
    matches_retry_exceptions,
)
from linckia.base.errors.codes import ErrorType
from linckia.base.errors.objects import (
    GetTimeoutError,
    ObjectFetchTimedOutError,
    ObjectFreedError,
    ObjectLostError,
    ObjectReconstructionFailedError,
    ObjectStoreFullError,
    OutOfDiskError,
    OwnerDiedError,
    ReferenceCountingAssertionError,
)
from linckia.base.errors.root import Origin, RayDeprecationWarning, RayError
from linckia.base.errors.system import (
    AuthenticationError,
    LocalRayletDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayCgraphCapacityExceeded,
    RayChannelError,
    RayChannelTimeoutError,
    RayDirectTransportError,
    RaySystemError,
    RpcError,
    StreamingGeneratorReplayInconsistentError,
)
from linckia.base.errors.task_error import RayTaskError
from linckia.base.errors.tasks import (
    ActorPlacementGroupRemoved,
    ActorUnschedulableError,
    AsyncioActorExit,
    CrossLanguageError,
    ObjectRefStreamEndOfStreamError,
    OufOfBandObjectRefSerializationException,
    PendingCallsLimitExceeded,
    PlasmaObjectNotAvailable,
    RuntimeEnvSetupError,
    TaskCancelledError,
    TaskPlacementGroupRemoved,
    TaskUnschedulableError,
    UnserializableException,
    UserCodeException,
    WorkerCrashedError,
)
from linckia.base.errors.transport import decode_error, describe_error, encode_error, error_type_of, origin_of

__all__ = [
    "RayError",
    "RayTaskError",
    "TaskCancelledError",
    "WorkerCrashedError",
    "NodeDiedError",
    "LocalRayletDiedError",
    "OutOfMemoryError",
    "RayActorError",
    "ActorDiedError",
    "ActorUnavailableError",
    "ActorAlreadyExistsError",
    "ActorHandleNotFoundError",
    "CheckpointError",
    "TaskUnschedulableError",
    "ActorUnschedulableError",
    "TaskPlacementGroupRemoved",
    "ActorPlacementGroupRemoved",
    "PendingCallsLimitExceeded",
    "RuntimeEnvSetupError",
    "GetTimeoutError",
    "ObjectStoreFullError",
    "OutOfDiskError",
    "ObjectLostError",
    "OwnerDiedError",
    "ObjectFetchTimedOutError",
    "ObjectReconstructionFailedError",
    "ObjectFreedError",
    "ReferenceCountingAssertionError",
    "RaySystemError",
    "StreamingGeneratorReplayInconsistentError",
    "RayChannelError",
    "RayChannelTimeoutError",
    "RayCgraphCapacityExceeded",
    "RayDirectTransportError",
    "RpcError",
    "AuthenticationError",
    "UserCodeException",
    "CrossLanguageError",
    "UnserializableException",
    "OufOfBandObjectRefSerializationException",
    "AsyncioActorExit",
    "PlasmaObjectNotAvailable",
    "ObjectRefStreamEndOfStreamError",
    "RayDeprecationWarning",
    "ActorDiedErrorContext",
    "ErrorType",
    "Origin",
    "ProcessInfo",
    "decode_error",
    "describe_error",
    "encode_error",
    "error_type_of",
    "make_dependency_error",
    "make_task_error",
    "matches_retry_exceptions",
    "origin_of",
]

# Tracebacks and pickles name the place users import from, not the file a class happens to live in.
for _name in __all__:
    _public = globals()[_name]
    if isinstance(_public, type) and _public is not ProcessInfo:
        _public.__module__ = "linckia.exceptions"
