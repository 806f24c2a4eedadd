"""One fresh process: import an engine, start it, get one result, print one JSON line. A script: see below.

`session.py` and `peers.py` run it as `python -P bench/startup.py ENGINE`, so that nothing but `sys` and `time` is
imported before the clock starts: an engine must pay for its own imports. It refuses to count a result that this very
process computed.
"""

import sys
import time

START = time.perf_counter()
CPUS = 2


def where() -> int:
    """Tell which process this runs in."""
    import os  # noqa: PLC0415 (the clock is running: only what the engine needs may be imported at the top)

    return os.getpid()


def start_ray_api(name: str) -> int:
    """Start an engine with Ray's API and run one task on it."""
    import importlib  # noqa: PLC0415 (start-up time)

    ray = importlib.import_module(name)
    ray.init(address="local", num_cpus=CPUS)  # "local": another cluster may run on this machine
    return int(ray.get(ray.remote(where).remote()))


def start_futures() -> int:
    """Start a process pool of the standard library."""
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415 (start-up time)

    return ProcessPoolExecutor(CPUS).submit(where).result()


def start_multiprocessing() -> int:
    """Start the older process pool of the standard library."""
    import multiprocessing  # noqa: PLC0415 (start-up time)

    global pool  # noqa: PLW0603 (a pool that is collected ends its workers)
    pool = multiprocessing.Pool(CPUS)
    return int(pool.apply(where))


def start_loky() -> int:
    """Start loky's executor."""
    import importlib  # noqa: PLC0415 (start-up time)

    get_reusable_executor = importlib.import_module("loky").get_reusable_executor

    return int(get_reusable_executor(CPUS).submit(where).result())


def start_dask() -> int:
    """Start a local dask cluster."""
    import importlib  # noqa: PLC0415 (start-up time)

    distributed = importlib.import_module("distributed")

    global pool  # noqa: PLW0603 (keeps the cluster alive until the result is there)
    cluster = distributed.LocalCluster(n_workers=CPUS, threads_per_worker=1, dashboard_address=None)
    pool = client = distributed.Client(cluster)
    return int(client.submit(where, pure=False).result())


STARTERS = {
    "futures": start_futures,
    "multiprocessing": start_multiprocessing,
    "loky": start_loky,
    "dask": start_dask,
}
pool: object = None


def main() -> None:
    """Start the engine named on the command line, check that the task ran elsewhere, and report."""
    engine = sys.argv[1]
    pid = STARTERS[engine]() if engine in STARTERS else start_ray_api(engine)
    elapsed_s = time.perf_counter() - START

    import json  # noqa: PLC0415 (after the clock)
    import os  # noqa: PLC0415 (after the clock)

    if pid == os.getpid():
        sys.exit(f"{engine}: the first task ran in the driver itself (process {pid}), expected another process")
    print("\n" + json.dumps({"startup_s": elapsed_s}), flush=True)


if __name__ == "__main__":
    main()
