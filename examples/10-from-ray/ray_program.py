"""A program written for Ray, with no line changed. Run it with `linckia run --as-ray ray_program.py 200000`."""

import random
import sys

import ray
from ray.util.actor_pool import ActorPool

ray.init()


@ray.remote
class Progress:
    def __init__(self):
        self.samples = 0

    def add(self, samples):
        self.samples += samples

    def total(self):
        return self.samples


@ray.remote
def inside(samples, seed, progress):
    rng = random.Random(seed)
    hits = sum(rng.random() ** 2 + rng.random() ** 2 <= 1 for _ in range(samples))
    ray.get(progress.add.remote(samples))
    return hits


@ray.remote
class Doubler:
    def double(self, value):
        return 2 * value


samples = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
progress = Progress.remote()
hits = ray.get([inside.remote(samples // 10, seed, progress) for seed in range(10)])
print(f"pi is about {4 * sum(hits) / samples:.4f} after {ray.get(progress.total.remote()):,} samples")

pool = ActorPool([Doubler.remote() for _ in range(2)])
assert list(pool.map(lambda actor, value: actor.double.remote(value), range(5))) == [0, 2, 4, 6, 8]

try:
    ray.get(inside.remote("many", 0, progress))
except ray.exceptions.RayTaskError as error:
    print("errors have Ray's types:", isinstance(error, TypeError))
ray.shutdown()
