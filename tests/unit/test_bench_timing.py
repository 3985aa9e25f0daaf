"""What ``python -m bench timing`` concludes from times. (bench is no part of the installed package.)"""

import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def timing() -> Any:
    path = Path(__file__).parents[2] / "bench" / "timing.py"
    spec = importlib.util.spec_from_file_location("bench_timing", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_timing"] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["bench_timing"]


def times(seed: int, more_us: float = 0.0) -> list[float]:
    chance = random.Random(seed)
    return [500 + more_us + chance.expovariate(1 / 100) for _ in range(1500)]


def test_times_of_one_kind_are_not_told_apart(timing: Any) -> None:
    """Two samples of the same."""
    found = timing.compare("nobody", "account", times(1), times(2))
    assert not found.apart
    assert abs(found.z) < 3
    assert found.rightly == pytest.approx(0.5, abs=0.04)


def test_a_difference_much_smaller_than_the_noise_is_found(timing: Any) -> None:
    """As what a look-up needs once was."""
    found = timing.compare("nobody", "account", times(1), times(2, 20))
    assert found.apart
    assert found.least_us < 20 < found.most_us
    assert found.z > 3
    assert found.tries < 1000
    assert "TOLD APART" in str(found)


def test_the_rank_sum_is_that_of_the_textbook(timing: Any) -> None:
    """Pairs in which the second is the larger, equal ones half; no difference has no deviation."""
    assert timing.rank_sum([1, 2, 3], [4, 5, 6])[0] == 1.0
    assert timing.rank_sum([4, 5, 6], [1, 2, 3])[0] == 0.0
    assert timing.rank_sum([1, 2], [1, 2]) == (0.5, 0.0)
    assert timing.rank_sum([1, 3], [2, 4])[0] == 0.75
