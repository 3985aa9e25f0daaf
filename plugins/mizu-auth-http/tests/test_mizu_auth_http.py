"""mizu-auth-http: the suites that every backend keeps, and what is special to this one."""

import json

import pytest
import pytest_twisted
from mizu.plugins.mizu_auth_http_dropin import HttpSettings, http_backend
from mizu_auth_http.answers import BadAnswer, read_answer
from mizu_auth_http.backend import HttpBackend
from mizu_auth_http.breaker import Breaker
from mizu_auth_http.client import Forbidden, Poster, Redirected, TooLong, allowed
from twisted.internet.defer import Deferred, TimeoutError
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from mizu.errors import StoreBusy
from mizu.testing.auth import AuthBackendContract, all_ha1, auth_query, result_now
from mizu.testing.clock import FakeClock
from mizu.testing.plugins import AuthBackendFactoryContract

URL = "https://crm.example/sip"
ALICE = {"id": 17, "username": "alice", "ha1": all_ha1("alice", "secret"), "display_name": "Alice"}


class Service:
    """Answers without a network."""

    def __init__(self) -> None:
        self.people = {"alice": ALICE}
        self.asked: list[dict[str, object]] = []
        self.fault: Exception | None = None
        self.waiting: list[Deferred[None]] | None = None

    async def post(self, body: bytes) -> tuple[int, bytes]:
        query = json.loads(body)
        self.asked.append(query)
        if self.waiting is not None:
            later: Deferred[None] = Deferred()
            self.waiting.append(later)
            await later
        if self.fault is not None:
            raise self.fault
        known = self.people.get(query["username"])
        return (200, json.dumps(known).encode()) if known else (404, b"")


def backend(service: Service, clock: FakeClock | None = None, **settings: object) -> HttpBackend:
    return HttpBackend(HttpSettings(url=URL, **settings), service.post, (clock or FakeClock()).mono_s)


class TestFactory(AuthBackendFactoryContract):
    """``[[auth.backend]] type = "http"``"""

    factory = http_backend
    sample = {"url": URL, "token": "not to be shown"}

    @pytest.mark.parametrize(
        "url", ["", "crm.example", "ftp://crm.example/", "http://", "http://[x/", "http://[::1]/"]
    )
    def test_a_url_that_is_none_is_told_at_start(self, url: str) -> None:
        """Before anybody needs it."""
        assert list(http_backend.check(HttpSettings(url=url)))


class TestByUsername(AuthBackendContract):
    """Settings as they are."""

    def make_backend(self) -> HttpBackend:
        return backend(Service())


class TestBySource(AuthBackendContract):
    """A service that looks at more than the username."""

    def make_backend(self) -> HttpBackend:
        return backend(Service(), by_username=False)


def test_the_service_is_told_what_the_request_shows() -> None:
    """Everything that a decision may rest on, and no password."""
    service = Service()
    result_now(backend(service).find(auth_query("alice", source_host="192.0.2.7")))
    assert service.asked[0]["source_host"] == "192.0.2.7"
    assert service.asked[0]["username"] == "alice"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"id": 1}',
        b'{"id": 0, "ha1": null}',
        b'{"id": true, "ha1": null}',
        b'{"id": 1, "ha1": {"MD5": "XYZ"}}',
        b'{"id": 1, "ha1": {"SHA-1": "00"}}',
        b'{"id": 1, "ha1": "x"}',
        b'{"id": 1, "ha1": null, "username": "mallory"}',
        b'{"id": 1, "ha1": null, "enabled": "yes"}',
        b'{"id": 1, "ha1": null, "display_name": "a\\nb"}',
        b'{"id": 1, "ha1": null, "cache_s": -1}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_lets_nobody_in(said: bytes) -> None:
    """An answer is used only when all of it makes sense."""
    with pytest.raises((BadAnswer, RecursionError)):
        read_answer(200, said, auth_query("alice"), 60.0)
    service = Service()

    async def post(body: bytes) -> tuple[int, bytes]:
        return 200, said

    with pytest.raises(StoreBusy):
        result_now(HttpBackend(HttpSettings(url=URL), post, FakeClock().mono_s).find(auth_query("alice")))
    assert not service.asked


def test_when_it_is_down_the_next_backend_is_asked_or_not() -> None:
    """As the setting says."""
    service = Service()
    service.fault = ConnectionError("refused")
    with pytest.raises(StoreBusy):
        result_now(backend(service).find(auth_query("alice")))
    assert result_now(backend(service, when_down="next").find(auth_query("alice"))) is None


def test_after_failures_in_a_row_it_is_left_alone_then_tried_with_one_question() -> None:
    """So that a dead service costs nothing, and comes back by itself."""
    service, clock = Service(), FakeClock()
    asking = backend(service, clock, failures_max=3, pause_s=10.0, when_down="next")
    service.fault = ConnectionError("refused")
    for _ in range(5):
        assert result_now(asking.find(auth_query("alice"))) is None
    assert len(service.asked) == 3
    clock.advance(10)
    assert result_now(asking.find(auth_query("alice"))) is None
    assert len(service.asked) == 4
    clock.advance(10)
    service.fault = None
    assert result_now(asking.find(auth_query("alice"))) is not None
    assert result_now(asking.find(auth_query("alice"))) is not None


def test_only_one_question_tries_a_service_that_was_left_alone() -> None:
    """The others are answered as while it is down."""
    breaker = Breaker(1, 10.0)
    breaker.failed(0.0)
    assert [breaker.lets_through(now_s) for now_s in (9.9, 10.0, 10.0)] == [False, True, False]
    breaker.failed(10.0)
    assert [breaker.lets_through(now_s) for now_s in (19.9, 20.0)] == [False, True]
    breaker.succeeded()
    assert breaker.lets_through(20.0)


def test_no_more_questions_at_a_time_than_allowed() -> None:
    """One more counts as unanswered, and as no failure of the service."""
    service = Service()
    service.waiting = []
    asking = backend(service, in_flight_max=2, when_down="next")
    first = [Deferred.fromCoroutine(asking.find(auth_query("alice"))) for _ in range(2)]
    assert result_now(asking.find(auth_query("alice"))) is None
    for later in service.waiting:
        later.callback(None)
    assert [done.result is not None for done in first] == [True, True]


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("192.0.2.1", False, True),
        ("93.184.216.34", True, True),
        ("127.0.0.1", False, True),
        ("10.0.0.1", False, True),
        ("169.254.169.254", False, False),
        ("::1", False, True),
        ("fe80::1", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("::ffff:127.0.0.1", False, True),
        ("0.0.0.0", False, False),
        ("224.0.0.1", False, False),
    ],
)
def test_e4_where_may_be_connected_to(address: str, public: bool, private: bool) -> None:
    """E4: loopback and private networks only when told, metadata addresses never."""
    assert allowed(address, private_targets=False) is public
    assert allowed(address, private_targets=True) is private


class Odd(Resource):
    """A service with bad habits; the last word of the path says which."""

    isLeaf = True

    def render_POST(self, request):
        habit = request.path.rpartition(b"/")[2]
        if habit == b"good":
            return json.dumps(ALICE).encode()
        if habit == b"redirect":
            request.setResponseCode(307)
            request.setHeader(b"location", b"/good")
            return b""
        if habit == b"long":
            request.setHeader(b"content-length", b"1000000000")
            request.write(b" " * 100_000)
        if habit == b"drip":
            request.write(b" ")
        return NOT_DONE_YET


@pytest_twisted.async_yield_fixture
async def service():
    """The URL of such a service on loopback."""
    from twisted.internet import reactor

    port = reactor.listenTCP(0, Site(Odd()), interface="127.0.0.1")
    yield f"http://127.0.0.1:{port.getHost().port}"
    await port.stopListening()


def poster(url: str, **changes) -> Poster:
    async def nowhere(name: str) -> list[str]:
        return ["127.0.0.1"] if name == "inside.example" else []

    settings = {"token": "t", "deadline_s": 1.0, "body_max_bytes": 4096, "private_targets": True}
    return Poster(url, **{**settings, "addresses_of": nowhere, **changes})


@pytest_twisted.ensureDeferred
async def test_an_answer_comes_through(service):
    """Over real HTTP."""
    asking = poster(f"{service}/good")
    status, body = await asking.post(b"{}")
    await asking.close()
    assert (status, json.loads(body)["id"]) == (200, 17)


@pytest_twisted.ensureDeferred
async def test_a_name_is_resolved_by_the_server(service):
    """And connected to where it was found and checked."""
    asking = poster(service.replace("127.0.0.1", "inside.example") + "/good")
    status, _ = await asking.post(b"{}")
    await asking.close()
    assert status == 200


@pytest.mark.parametrize(
    ("habit", "problem"),
    [
        ("redirect", Redirected),
        ("long", TooLong),
        ("drip", TimeoutError),
        ("silent", TimeoutError),
    ],
)
@pytest_twisted.ensureDeferred
async def test_e4_bad_habits_end_in_time(service, habit, problem):
    """E4: no redirect is followed, no endless or huge answer is read, the deadline counts for all of it."""
    asking = poster(f"{service}/{habit}")
    with pytest.raises(problem):
        await asking.post(b"{}")
    await asking.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "inside.example", "nowhere.example"])
@pytest_twisted.ensureDeferred
async def test_e4_nothing_is_sent_into_private_networks(service, host):
    """E4: by number or by name, unless ``private_targets`` says so."""
    asking = poster(f"{service.replace('127.0.0.1', host)}/good", private_targets=False)
    with pytest.raises(Forbidden):
        await asking.post(b"{}")
    await asking.close()
