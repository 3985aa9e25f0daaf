"""What the gate lets through, in silence."""

from mizu.guard.filter import Gate

MESSAGE = b"OPTIONS sip:a@b SIP/2.0\r\n"


def make(**settings):
    """A gate whose clock the test moves by ``gate.time[0]``."""
    time = [0.0]
    gate = Gate(message_bytes=1000, now=lambda: time[0], **settings)
    gate.time = time
    return gate


def test_sizes_outside_the_limits_are_dropped():
    """Shorter than any message, or longer than ``limits.message_bytes``."""
    gate = make()
    assert not gate.admit("192.0.2.1", 14, MESSAGE)
    assert gate.admit("192.0.2.1", 15, MESSAGE)
    assert gate.admit("192.0.2.1", 1000, MESSAGE)
    assert not gate.admit("192.0.2.1", 1001, MESSAGE)
    assert gate.dropped["size"] == 2


def test_only_what_can_begin_a_message_passes():
    """A method (any token), a status line, or the line ends before them."""
    gate = make()
    passing = {byte for byte in range(256) if gate.admit("192.0.2.1", 100, bytes([byte]))}
    assert passing == set(b"!%'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_`abcdefghijklmnopqrstuvwxyz~\r\n")


def test_the_rate_of_an_address_is_held():
    """Option ``guardrate``; others do not notice."""
    gate = make()
    gate.limit_rate(5)
    assert sum(gate.admit("192.0.2.1", 100, MESSAGE) for _ in range(100)) == 10
    assert gate.admit("192.0.2.2", 100, MESSAGE)
    gate.time[0] = 1.0
    assert sum(gate.admit("192.0.2.1", 100, MESSAGE) for _ in range(100)) == 5
    assert sum(gate.admit_framed("192.0.2.2") for _ in range(100)) == 10


def test_no_rate_means_any_rate():
    """0 switches the buckets off."""
    gate = make()
    gate.limit_rate(1)
    assert not all(gate.admit("192.0.2.1", 100, MESSAGE) for _ in range(1000))
    gate.limit_rate(0)
    assert all(gate.admit("192.0.2.1", 100, MESSAGE) for _ in range(1000))


def test_the_same_rate_said_again_changes_nothing():
    """Nobody gets a full bucket because another option was set."""
    gate = make()
    gate.limit_rate(5, 2)
    assert sum(gate.admit("192.0.2.1", 100, MESSAGE) for _ in range(100)) == 10
    gate.limit_rate(5, 2)
    assert not gate.admit("192.0.2.1", 100, MESSAGE)
    gate.limit_rate(6, 2)
    assert sum(gate.admit("192.0.2.1", 100, MESSAGE) for _ in range(100)) == 12


def test_known_senders_may_be_faster():
    """Trunks, and where somebody was authenticated: the rate times a factor, but not any rate."""
    gate = make(known=lambda host: host == "192.0.2.1")
    gate.limit_rate(5, 10)
    assert sum(gate.admit("192.0.2.1", 100, MESSAGE) for _ in range(1000)) == 100
    assert sum(gate.admit("192.0.2.2", 100, MESSAGE) for _ in range(1000)) == 10
    gate.time[0] = 1.0
    assert sum(gate.admit("192.0.2.1", 100, MESSAGE) for _ in range(1000)) == 50


def test_banned_senders_are_shut_out_everywhere():
    """Datagrams, connections, and messages on connections that are older than the ban."""
    gate = make(banned={"192.0.2.66"})
    assert not gate.admit("192.0.2.66", 100, MESSAGE)
    assert not gate.admit_connection("192.0.2.66")
    assert not gate.admit_framed("192.0.2.66")
    assert gate.admit("192.0.2.1", 100, MESSAGE)
    assert gate.admit_connection("192.0.2.1")
    assert (gate.dropped["banned"], gate.dropped["connection"]) == (2, 1)


def test_trusted_senders_are_neither_banned_nor_slowed_down():
    """The white list wins over the ban list and the rate, not over the size."""
    gate = make(banned={"192.0.2.7"}, trusted={"192.0.2.7"})
    gate.limit_rate(1)
    assert all(gate.admit("192.0.2.7", 100, MESSAGE) for _ in range(100))
    assert gate.admit_connection("192.0.2.7")
    assert not gate.admit("192.0.2.7", 5000, MESSAGE)


def test_malformed_messages_are_counted_by_their_kind():
    """For status and, later, for bans."""
    gate = make()
    gate.note_garbage("192.0.2.1", 5060, "bad_via")
    gate.note_garbage("192.0.2.2", 5060, "bad_via")
    assert gate.garbage == {"bad_via": 2}


def test_a_banned_user_agent_is_kept_out_alone() -> None:
    """Its address goes on from other ports; over TCP too."""
    gate = Gate(message_bytes=1000, now=lambda: 0.0, agents={("192.0.2.1", 5060)})
    assert not gate.admit("192.0.2.1", 100, MESSAGE, 5060)
    assert not gate.admit_framed("192.0.2.1", 5060)
    assert gate.admit("192.0.2.1", 100, MESSAGE, 5062)
    assert gate.admit_framed("192.0.2.1", 5062)


def test_who_is_banned_in_doubt_comes_through_with_proof() -> None:
    """A nonce that was sent to this address cannot be in a forged message; anybody else's can."""
    nonce = "0123456789abcdef" * 3
    gate = Gate(
        message_bytes=1000,
        now=lambda: 0.0,
        doubtful={"192.0.2.1", "192.0.2.2"},
        proves=lambda given, host: (given, host) == (nonce, "192.0.2.1"),
    )
    answer = f'REGISTER sip:x SIP/2.0\r\nAuthorization: Digest username="a", nonce="{nonce}"\r\n\r\n'.encode()
    assert not gate.admit("192.0.2.1", 100, MESSAGE)
    assert gate.admit("192.0.2.1", len(answer), answer)
    assert gate.admit("192.0.2.1", len(answer), answer.replace(b", nonce", b",nonce"))
    assert not gate.admit("192.0.2.1", len(answer), answer.replace(b", nonce", b", cnonce"))
    assert not gate.admit("192.0.2.2", len(answer), answer)
    assert gate.admit("192.0.2.3", 100, MESSAGE)


def test_scanners_that_say_what_they_are_get_nothing() -> None:
    """Their word counts in User-Agent only, in any case of letters; an empty list looks for none."""
    gate = Gate(message_bytes=1000, now=lambda: 0.0, trusted={"192.0.2.9"})
    scan = b"OPTIONS sip:x SIP/2.0\r\nUser-Agent: Friendly-Scanner\r\n\r\n"
    talk = b"OPTIONS sip:x SIP/2.0\r\nUser-Agent: Phone\r\nSubject: friendly-scanner\r\n\r\n"
    assert gate.admit("192.0.2.1", len(scan), scan)
    gate.know_scanners(["friendly-scanner", "sipvicious"])
    assert not gate.admit("192.0.2.1", len(scan), scan)
    assert gate.admit("192.0.2.1", len(talk), talk)
    assert gate.admit("192.0.2.9", len(scan), scan)
    assert gate.dropped["scanner"] == 1
    gate.know_scanners([])
    assert gate.admit("192.0.2.1", len(scan), scan)


def test_a_new_list_of_scanners_counts_for_programs_seen_before() -> None:
    """What was found out about a User-Agent holds only as long as the list it was compared with."""
    gate = make()
    scan = b"OPTIONS sip:x SIP/2.0\r\nUser-Agent: Friendly-Scanner\r\n\r\n"
    gate.know_scanners(["sipvicious"])
    assert gate.admit("192.0.2.1", len(scan), scan)
    gate.know_scanners(["friendly-scanner"])
    assert not gate.admit("192.0.2.1", len(scan), scan)


def test_any_number_of_user_agents_can_be_told_apart() -> None:
    """More than the gate remembers: each is judged rightly, the first ones again."""
    gate = make()
    gate.know_scanners(["scanner"])
    lines = [b"OPTIONS sip:x SIP/2.0\r\nUser-Agent: Phone %d\r\n\r\n" % number for number in range(1500)]
    scan = b"OPTIONS sip:x SIP/2.0\r\nUser-Agent: Scanner\r\n\r\n"
    for line in lines:
        assert gate.admit("192.0.2.1", len(line), line)
        assert not gate.admit("192.0.2.1", len(scan), scan)
    assert gate.admit("192.0.2.1", len(lines[0]), lines[0])
