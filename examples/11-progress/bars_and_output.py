"""What tasks print arrives here with the name of the task and its process; progress bars work from inside tasks."""

import os
import zlib

import linckia
from linckia.util.tqdm import tqdm


@linckia.remote
def compress(number, rounds):
    print(f"batch {number} begins in process {os.getpid()}")
    data = bytes(range(256)) * 400
    size = 0
    for _ in tqdm(range(rounds), desc=f"batch {number}"):
        size += len(zlib.compress(data, 6))
    return size


with linckia.init(num_cpus=2):
    sizes = linckia.get([compress.remote(number, 40) for number in range(3)])

print(f"three batches, {sum(sizes):,} bytes")
assert len(set(sizes)) == 1
