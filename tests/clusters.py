"""Clusters of real processes on this machine, and a function that kills one of the workers."""

import contextlib
import os
import signal
import subprocess
import sys

import dask
import distributed
from distributed.utils import get_mp_context

OPTIONS = {"dashboard_address": ":0", "memory_limit": 0}


def forked():
    """Fork workers from a process that has everything imported, so that each starts at once, also after a kill."""
    method = dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    get_mp_context().set_forkserver_preload(["distributed", "dask.array", "worker_imports"])
    return method


@contextlib.contextmanager
def _closed(cluster):
    """A cluster that is closed in the end, even while a nanny starts a worker anew: distributed then asserts that the
    worker has started."""
    try:
        yield cluster
    finally:
        with contextlib.suppress(AssertionError):
            cluster.close()


@contextlib.contextmanager
def nannies(n_workers, n_threads):
    """A client of a cluster that restarts workers when they die."""
    with (
        forked(),
        _closed(distributed.LocalCluster(n_workers=n_workers, threads_per_worker=n_threads, **OPTIONS)) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(n_workers, timeout=120)
        yield client


@contextlib.contextmanager
def no_nannies(n_workers, n_threads):
    """A client of a cluster whose workers, plain `dask worker` processes, are not restarted."""
    with (
        distributed.LocalCluster(n_workers=0, **OPTIONS) as cluster,
        distributed.Client(cluster) as client,
        contextlib.ExitStack() as stack,
    ):
        command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address]
        command += ["--no-nanny", "--no-dashboard", "--nthreads", str(n_threads), "--memory-limit", "0"]
        for _ in range(n_workers):
            stack.callback(subprocess.Popen(command, stderr=subprocess.DEVNULL).wait, timeout=60)
        client.wait_for_workers(n_workers, timeout=120)
        yield client
        client.shutdown()


def kill_one(client):
    """Kill (-9) the worker process with the lowest number; return that number."""
    victim = min(client.run(os.getpid).values())
    os.kill(victim, signal.SIGKILL)
    return victim
