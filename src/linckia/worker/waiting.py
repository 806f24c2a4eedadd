"""``wait`` with ``fetch_local``: a large value counts when it is on this node (R 1.30).

Only where values may be elsewhere; on one node ``api/calls.py`` looks at the refs themselves. Transfers that ``wait``
has begun go on when it returns early: the next call finds them further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linckia.protocol.transfer_messages import WAIT
from linckia.worker.refs import BLOCK, ObjectRef

if TYPE_CHECKING:
    from linckia.worker.fetching import Fetch
    from linckia.worker.runtime import Runtime


class WaitHere:
    """One call: refs and generators in, those that are ready here in ``ready``. A wait target."""

    def __init__(self, runtime: Runtime, refs: list[Any], num_returns: int) -> None:
        self.runtime, self.refs, self.num_returns = runtime, refs, num_returns
        self.ready: set[int] = set()  # id() of refs
        self._fetches: list[Fetch] = []  # what they brought stays here until we return

    @property
    def state(self) -> bool:
        return len(self.ready) >= self.num_returns

    def __call__(self, ref: Any) -> None:
        """A ref got its value (a hook, or a look at the beginning); under the mutex."""
        if type(ref) is not ObjectRef or ref.state != BLOCK:
            self.ready.add(id(ref))
            return
        fetch = self.runtime.fetching.begin(ref, WAIT)
        if fetch is None or fetch.state or self._is_here(ref):
            self.ready.add(id(ref))
            return
        self._fetches.append(fetch)
        fetch.hooks = [*(fetch.hooks or []), lambda _fetch: self.ready.add(id(ref))]

    def _is_here(self, ref: ObjectRef[Any]) -> bool:
        """On the disk of this node: near enough."""
        return bool(ref.value.node_id == self.runtime.node_id)

    def wait(self, timeout_s: float | None) -> None:
        """Until enough are ready, or the time is over."""
        runtime = self.runtime
        hooked = []
        with runtime.mutex:
            for ref in self.refs:
                if ref.state:
                    self(ref)
                else:
                    if type(ref) is ObjectRef:
                        runtime.objects.fetch(ref)
                    ref.hooks = [*(ref.hooks or []), self]
                    hooked.append(ref)
        try:
            if timeout_s == 0:
                runtime.progress.poll_if_free()
            else:
                runtime.wait_target(self, timeout_s)
        finally:
            with runtime.mutex:
                for ref in hooked:
                    if ref.hooks is not None and self in ref.hooks:
                        ref.hooks = [hook for hook in ref.hooks if hook is not self] or None
