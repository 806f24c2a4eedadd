"""Objects: `put` a large value once, and every task reads it from shared memory instead of receiving its own copy."""

import array
import pickle

import linckia

ROWS = 2_000_000


class Table:
    """A column of numbers without numpy. Its bytes travel out of band, so readers see the shared memory itself."""

    def __init__(self, numbers):
        self.numbers = memoryview(numbers).cast("B").cast("q")

    def __reduce_ex__(self, protocol):
        return Table, (pickle.PickleBuffer(self.numbers.cast("B")),)


@linckia.remote
def sum_of(table, first, last):
    return sum(table.numbers[first:last])


@linckia.remote
def try_to_write(table):
    try:
        table.numbers[0] = 7
    except TypeError as error:
        return str(error)
    return "written"


with linckia.init():
    table = linckia.put(Table(array.array("q", range(ROWS))))  # 16 MB, one copy into shared memory
    step = ROWS // 8
    parts = [sum_of.remote(table, first, first + step) for first in range(0, ROWS, step)]
    total = sum(linckia.get(parts))
    print(f"sum of {ROWS:,} numbers by {len(parts)} tasks: {total:,}")
    assert total == ROWS * (ROWS - 1) // 2

    refusal = linckia.get(try_to_write.remote(table))
    print("objects do not change:", refusal)
    assert "read-only" in refusal
