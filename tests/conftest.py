"""Hypothesis: each run tries the same examples, so that a test fails only because of a change.

HYPOTHESIS_PROFILE=explore tries new examples each time.

--guard-pages=end places every array next to an unmapped page, see `guard_pages`.

--kernel-code=FOLDER writes the code of the kernels that the run compiled, see `kernel_code`.

Several test processes (`pytest -n auto`) share the processors: the OpenMP threads of other libraries would spin while
they wait for each other. Tests of threads are about somknn's own, which do not use OpenMP.
"""

import os
import signal

# A background job of a script ignores Ctrl-C, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)) > 1:  # before scikit-learn is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A first call may compile for seconds: with a deadline, whichever test comes first would fail.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kernel-code", type=Path, help="a folder for the code of the kernels that the run compiled")
    help = "end the run at the first read or write beyond the end (or before the start) of an array"
    parser.addoption("--guard-pages", choices=("end", "start"), help=help)


def pytest_configure(config: pytest.Config) -> None:
    if mode := config.getoption("guard_pages"):
        import guard_pages

        guard_pages.install(mode)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("guard_pages"):
        import guard_pages

        terminalreporter.write_line(guard_pages.report())


def pytest_sessionfinish(session: pytest.Session) -> None:
    if folder := session.config.getoption("kernel_code"):
        import kernel_code

        kernel_code.dump(folder)


_ROOMS_OF_SEARCHES = {"kernels", "search", "som", "prototypes"}


@pytest.fixture(autouse=True)
def no_small_work(request: pytest.FixtureRequest) -> Iterator[None]:
    """In tests of searches, few rows are searched as many are. Elsewhere they are searched as a user's few rows are.

    `tests/search/test_small_work.py` tests how small work begins.
    """
    if _ROOMS_OF_SEARCHES & set(request.path.relative_to(Path(__file__).parent).parts):
        from somknn.search.allowance import withheld

        with withheld():
            yield
    else:
        yield
