"""Errors of actors: dead for good, unavailable for now, name taken, handle of another session."""

from __future__ import annotations

from typing import NamedTuple

from linckia.base.errors.root import Origin, RayError
from linckia.base.errors.task_error import RayTaskError
from linckia.base.errors.tasks import id_text


class ActorDiedErrorContext(NamedTuple):
    """What the cluster knows of an actor's death (R 5.35). Empty fields are left out of the text."""

    class_name: str = ""
    actor_id: str = ""
    error_message: str = ""
    pid: int = 0
    name: str = ""
    ray_namespace: str = ""
    node_ip_address: str = ""
    never_started: bool = False
    preempted: bool = False


class RayActorError(RayError):
    """The actor could not finish the call: it is dead or out of reach. Catch this one for both."""

    BASE_ERROR_MSG = "The actor failed before it finished this call."

    def __init__(
        self,
        actor_id: object = None,
        error_msg: str = BASE_ERROR_MSG,
        actor_init_failed: bool = False,
        preempted: bool = False,
    ) -> None:
        self.actor_id = id_text(actor_id) if actor_id else None
        self.error_msg = error_msg
        self._actor_init_failed = actor_init_failed
        self._preempted = preempted
        self.args = (error_msg,)  # not the constructor's arguments: a context or a task error need not travel twice
        if actor_init_failed:
            self.origin = "application"

    def _told(self) -> str:
        return self.error_msg

    @property
    def actor_init_failed(self) -> bool:
        """True when the constructor raised; the text then holds its traceback."""
        return self._actor_init_failed

    @property
    def preempted(self) -> bool:
        """True when the actor died because its node was taken away by its provider."""
        return self._preempted


class ActorDiedError(RayActorError):
    """The actor is dead for good: constructor error, killed, owner dead, out of scope, restarts used up."""

    BASE_ERROR_MSG = "The actor died before it finished this call."
    _advice = "Create a new actor; max_restarts lets the cluster do that after a crash."

    def __init__(
        self, cause: RayTaskError | ActorDiedErrorContext | None = None, *, error_msg: str = BASE_ERROR_MSG
    ) -> None:
        if isinstance(cause, RayTaskError):
            text = f"The actor died because its constructor raised an exception.\n{cause}"
            super().__init__(cause._actor_id, text, actor_init_failed=True)
            self._advice = "Correct the constructor or its arguments; constructor errors are never retried."
        elif cause is None:
            super().__init__(None, error_msg)
        else:
            super().__init__(cause.actor_id, _death_text(error_msg, cause), preempted=cause.preempted)

    @staticmethod
    def from_task_error(task_error: RayTaskError) -> ActorDiedError:
        """The death of an actor whose constructor raised `task_error`."""
        return ActorDiedError(task_error)


class ActorUnavailableError(RayActorError):
    """The actor restarts or its connection broke; later calls may work. The call may or may not have run."""

    retryable = True
    _advice = "Call again if the method may run twice, or let the cluster do it with max_task_retries."

    def __init__(self, error_message: str = "it cannot be reached", actor_id: object = None) -> None:
        name = f"actor {id_text(actor_id)}" if actor_id else "actor"
        text = f"The {name} is unavailable: {error_message}. The call may or may not have been executed."
        super().__init__(actor_id, text)


class ActorAlreadyExistsError(ValueError, RayError):
    """A living actor has this name in this namespace."""

    origin: Origin = "application"
    _advice = "Choose another name, fetch the actor with get_actor(), or pass get_if_exists=True."

    def __init__(self, error_message: str = "an actor with this name already exists") -> None:
        super().__init__(error_message)
        self.error_message = error_message


class CheckpointError(RayError):
    """A state could not be saved, or none of the saved ones can be read. ``origin`` is "application" when the state
    itself is the reason.
    """

    _summary = "A checkpoint could not be saved or read."
    _advice = (
        "Nothing was overwritten. Look at the files it names and at the free space there; move damaged files away to "
        "begin anew."
    )

    def __init__(self, error_message: str = "", origin: Origin = "system") -> None:
        self.error_message = error_message
        self.origin = origin
        self.args = (error_message,) if error_message else ()


class ActorHandleNotFoundError(ValueError, RayError):
    """The handle belongs to another session: shutdown() and init() came in between."""

    origin: Origin = "application"
    _advice = "Use handles of the current session only; get_actor() finds a detached actor again by name."

    def __init__(self, error_message: str = "the actor handle is of another session") -> None:
        super().__init__(error_message)
        self.error_message = error_message


def _death_text(first_line: str, death: ActorDiedErrorContext) -> str:
    facts = {
        "class_name": death.class_name,
        "actor_id": id_text(death.actor_id),
        "pid": death.pid,
        "name": death.name,
        "namespace": death.ray_namespace,
        "ip": death.node_ip_address,
    }
    lines = [first_line, *(f"\t{key}: {value}" for key, value in facts.items() if value)]
    if death.error_message:
        lines.append(death.error_message)
    if death.never_started:
        lines.append("The actor never ran: it ended before its constructor was started.")
    return "\n".join(lines)
