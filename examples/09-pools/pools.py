"""Pools: interfaces you may know already, on the same cluster."""

from concurrent.futures import as_completed

import linckia
from linckia.util import ActorPool, LinckiaExecutor
from linckia.util.multiprocessing import Pool


def is_prime(number):
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


@linckia.remote
class Checker:
    def check(self, number):
        return number, is_prime(number)


with linckia.init(num_cpus=2):
    numbers = range(1_000_000, 1_000_100)

    with Pool(2) as pool:  # multiprocessing.Pool
        primes = [number for number, prime in zip(numbers, pool.map(is_prime, numbers), strict=True) if prime]
    print("Pool:", primes)

    with LinckiaExecutor() as executor:  # concurrent.futures.Executor
        futures = {executor.submit(is_prime, number): number for number in numbers}
        assert sorted(futures[done] for done in as_completed(futures) if done.result()) == primes

    workers = ActorPool([Checker.remote() for _ in range(2)])  # actors that take the next item when they are free
    answers = workers.map_unordered(lambda actor, number: actor.check.remote(number), numbers)
    assert sorted(number for number, prime in answers if prime) == primes

print("the executor and the actor pool found the same primes")
