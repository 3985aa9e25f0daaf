"""Token buckets and log sampling: what one sender may cost, whatever he does."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizu.guard.limits import Sampler, TokenBuckets, rate_key


def test_a_burst_passes_and_then_the_rate_holds():
    """10/s with two seconds' burst: 20 at once, then one each tenth of a second."""
    buckets = TokenBuckets(10, burst_s=2)
    assert [buckets.take("a", 0.0) for _ in range(25)].count(True) == 20
    assert not buckets.take("a", 0.05)
    assert buckets.take("a", 0.11)
    assert not buckets.take("a", 0.12)


def test_senders_do_not_share_a_bucket():
    """One sender's flood takes nothing from another."""
    buckets = TokenBuckets(1, burst_s=1)
    assert [buckets.take("flood", 0.0) for _ in range(100)].count(True) == 1
    assert buckets.take("phone", 0.0)


def test_a_rate_below_one_a_second_still_lets_one_pass():
    """A burst that would hold less than one token holds one."""
    buckets = TokenBuckets(0.1, burst_s=1)
    assert buckets.take("a", 0.0)
    assert not buckets.take("a", 9.0)
    assert buckets.take("a", 10.1)


def test_nobody_pushes_out_his_own_record():
    """A sender in debt stays in debt, however many other addresses he makes up."""
    buckets = TokenBuckets(1, burst_s=1, limit=100)
    assert buckets.take("attacker", 0.0)
    for number in range(10_000):
        buckets.take(f"forged{number}", 0.001)
    assert not buckets.take("attacker", 0.002)
    assert len(buckets) == 100


def test_records_that_say_nothing_any_more_make_room():
    """Once the buckets of earlier senders are full again, new senders get their own."""
    buckets = TokenBuckets(1, burst_s=1, limit=10)
    for number in range(10):
        buckets.take(f"old{number}", 0.0)
    assert buckets.take("new", 100.0)
    assert not buckets.take("new", 100.0)
    assert len(buckets) <= 10


def test_beyond_the_limit_newcomers_share():
    """When every record is in debt, newcomers pass at a bounded total rate instead of not at all."""
    buckets = TokenBuckets(1, burst_s=1, limit=10)
    for number in range(10):
        buckets.take(f"busy{number}", 0.0)
    passed = sum(buckets.take(f"new{number}", 0.0) for number in range(1000))
    assert passed == 10


@given(st.lists(st.integers(0, 400), max_size=60))
def test_a_bucket_is_an_exact_token_bucket(gaps_ms):
    """Equal to counting tokens with fractions, for any spacing of messages."""
    rate, burst = Fraction(8), Fraction(16)
    buckets = TokenBuckets(8, burst_s=2)
    now, tokens, last = Fraction(0), burst, Fraction(0)
    for gap in gaps_ms:
        now += Fraction(gap, 1024)  # exact in floating point too
        tokens = min(burst, tokens + (now - last) * rate)
        last = now
        passes = tokens >= 1
        tokens -= passes
        assert buckets.take("a", float(now)) is passes


@pytest.mark.parametrize(
    "wrong", [{"rate_per_s": 0}, {"rate_per_s": 1, "burst_s": 0}, {"rate_per_s": 1, "limit": 0}]
)
def test_senseless_settings_are_refused(wrong):
    """A bug of the caller is an error at once."""
    with pytest.raises(ValueError, match="rate_per_s"):
        TokenBuckets(**wrong)


def test_log_lines_are_few_for_each_source_and_for_all():
    """Six a minute about one source, ten times that for a kind, and counted beyond."""
    sampler = Sampler(6)
    assert sum(sampler.admit("bad", "one", 0.0) for _ in range(100)) == 6
    assert sum(sampler.admit("bad", f"forged{n}", 1.0) for n in range(1000)) == 54
    assert sampler.admit("other", "one", 2.0)
    assert sampler.admit("bad", "one", 60.0)
    assert sampler.suppressed == 94 + 946


def test_a_limit_of_zero_means_silence():
    """``log.per_source_per_minute = 0`` switches these lines off."""
    assert not Sampler(0).admit("bad", "one", 0.0)


def test_an_ipv6_customer_is_one_sender():
    """Addresses of one /64 count together; IPv4 addresses one by one."""
    assert rate_key("2001:db8::1") == rate_key("2001:db8::ffff:2")
    assert rate_key("2001:db8::1") != rate_key("2001:db8:0:1::1")
    assert rate_key("192.0.2.1") != rate_key("192.0.2.2")
    assert rate_key("fe80::1%eth0") == rate_key("fe80::2")
    assert rate_key("not:an:address") == "not:an:address"
