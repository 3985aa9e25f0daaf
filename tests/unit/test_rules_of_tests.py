"""What ``tests/conftest.py`` promises about every test, tried on tests that break it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SETUP = Path(__file__).parents[2] / "setup.cfg"

BAD = """
import pytest
from twisted.internet import defer
from twisted.logger import Logger
from twisted.python.failure import Failure

@pytest.mark.limit(0.1)
async def test_hangs():
    await defer.Deferred()

def test_leaves_a_timer():
    from twisted.internet import reactor
    reactor.callLater(60, int)

def test_logs_an_error():
    Logger().failure("x", Failure(ValueError("logged")))

def test_loses_a_failure():
    defer.fail(ValueError("lost"))

async def nothing():
    pass

def test_forgets_to_await():
    nothing()

def test_expects_an_error(clean_reactor):
    Logger().failure("x", Failure(ValueError("expected")))
    assert str(clean_reactor.pop().value) == "expected"

async def test_waits():
    from twisted.internet import reactor, task
    await task.deferLater(reactor, 0.01)
"""


@pytest.mark.limit(60)
def test_a_test_that_hangs_leaks_or_hides_an_error_does_not_pass(tmp_path):
    """Two good tests pass; the five bad ones fail, each for its reason."""
    shutil.copy(CONFTEST, tmp_path)
    shutil.copy(SETUP, tmp_path)
    (tmp_path / "test_bad.py").write_text(BAD)
    command = [sys.executable, "-m", "pytest", "-q", "test_bad.py"]
    wide = {**os.environ, "COLUMNS": "200"}
    run = subprocess.run(command, cwd=tmp_path, env=wide, capture_output=True, text=True, check=False)
    # a test that fails while it is being cleaned up after counts as passed and as an error
    assert "2 failed, 5 passed, 3 errors" in run.stdout, run.stdout
    for line in (
        "FAILED test_bad.py::test_hangs - twisted.internet.defer.TimeoutError",
        "FAILED test_bad.py::test_forgets_to_await - pytest.PytestUnraisable",
        "ERROR test_bad.py::test_leaves_a_timer - AssertionError: timers left behind",
        "ERROR test_bad.py::test_logs_an_error - AssertionError: errors logged",
        "ERROR test_bad.py::test_loses_a_failure - AssertionError: errors logged",
    ):
        assert line in run.stdout, line
