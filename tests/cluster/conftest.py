import os
import time

import pytest

pytest.importorskip("distributed")
pytest.importorskip("dask.array")

WORKERS, THREADS = 3, 2


@pytest.fixture(scope="session")
def shared_client():
    from clusters import nannies

    with nannies(WORKERS, THREADS) as client:
        yield client


@pytest.fixture(scope="session")
def unattended_client():
    """A cluster that does not restart its workers: each test that uses it may kill one of the three."""
    from clusters import no_nannies

    with no_nannies(3, 1) as client:
        yield client


@pytest.fixture
def client(shared_client):
    """The shared cluster with all of its workers alive."""
    deadline = time.monotonic() + 60
    while len(shared_client.nthreads()) < WORKERS and time.monotonic() < deadline:
        time.sleep(0.1)
    return shared_client


@pytest.fixture
def kill(client):
    """A function that kills one worker of the shared cluster; the test fails if it was not called."""
    from clusters import kill_one

    killed = []
    yield lambda: killed.append(kill_one(client))
    assert killed
    assert killed[0] not in client.run(os.getpid).values()
