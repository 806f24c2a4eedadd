"""Fresh memory of large blocks in huge pages, where the kernel gives them (Linux 6.1 on, no setting of the machine
needed).

The kernel provides shared memory in pages of 4 KiB, one fault each. 2 MiB at a time cost a quarter of that, and copies
to or from them later are quicker too: there are not 512 addresses to look up. Only memory that was never used is
treated, and only pages that lie inside one block, so that no block grows by it. It is a matter of speed alone: without
huge pages everything is as it was. Called by ``segment.py``, from the threads that are about to write.
"""

from __future__ import annotations

import errno
import os
import time

from linckia.shm.mapping import HUGE_BYTES, Mapping

_MADV_COLLAPSE = 25
REST_S = 10.0  # no huge page was to be had: do not look for one, which takes time, for so long


class HugePages:
    """Of one mapping of ``fd`` for writing. ``memory`` is a view of all of it."""

    def __init__(self, fd: int, mapping: Mapping, memory: memoryview) -> None:
        self._fd, self._mapping, self._memory = fd, mapping, memory
        self._rest_until_s = 0.0
        self.is_known = True  # the kernel has them

    def provide(self, start: int, end: int, limit: int) -> int:
        """Those huge pages that begin in [start, end) and end before ``limit``, unless there is memory already; how
        many bytes. The range up to ``end`` is the caller's, who has written nothing to it.
        """
        if not self.is_known or time.monotonic() < self._rest_until_s:
            return 0
        page, provided = (start + HUGE_BYTES - 1) // HUGE_BYTES * HUGE_BYTES, 0
        stop = min((end + HUGE_BYTES - 1) // HUGE_BYTES * HUGE_BYTES, limit // HUGE_BYTES * HUGE_BYTES)
        while page < stop:
            empty = min(self._next_used(page, stop), stop) // HUGE_BYTES * HUGE_BYTES
            if empty <= page:
                page += HUGE_BYTES
            elif self._collapse(page, empty):
                provided += empty - page
                page = empty
            else:
                break
        return provided

    def _next_used(self, start: int, limit: int) -> int:
        try:
            return os.lseek(self._fd, start, os.SEEK_DATA)
        except OSError:
            return limit  # nothing is used from there on

    def _collapse(self, start: int, end: int) -> bool:
        for page in range(start, end, HUGE_BYTES):
            self._memory[page] = 0  # the kernel enlarges pages that are there; it does not make them out of nothing
        try:
            self._mapping.advise(start, end - start, _MADV_COLLAPSE)
        except OSError as error:
            self.is_known = error.errno != errno.EINVAL
            self._rest_until_s = time.monotonic() + REST_S
            return False
        return True
