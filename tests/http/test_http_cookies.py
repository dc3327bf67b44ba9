"""The session cookie among those of other programs on the same host, and the date of a response."""

import re
from email.utils import parsedate_to_datetime

import h11
import pytest

from relay.net.http.cookies import COOKIE, HOST_PREFIX, session_cookie
from relay.net.http.headers import fixed_headers
from relay.net.http.request import HttpRequest


def request(*cookies: str) -> HttpRequest:
    async def no_body() -> bytes:
        return b""

    headers = [(b"Host", b"localhost"), *((b"Cookie", cookie.encode("latin-1")) for cookie in cookies)]
    return HttpRequest(h11.Request(method="GET", target="/", headers=headers), "127.0.0.1", no_body)


@pytest.mark.parametrize(
    "others", ['theme={"dark": true}', "bad name=1", "=", "a=b=c", 'q="', "x=\\", "no value", ";;", "\xfc=\xe4"]
)
def test_a_malformed_cookie_of_another_program_does_not_hide_the_session(others: str) -> None:
    assert session_cookie(request(f"{others}; {COOKIE}=token"), secure=False) == "token"
    assert session_cookie(request(f"{COOKIE}=token; {others}"), secure=False) == "token"
    assert session_cookie(request(others, f"{COOKIE}=token"), secure=False) == "token"


def test_host_prefixed_cookie_wins_under_tls() -> None:
    both = request(f"{COOKIE}=planted; {HOST_PREFIX}{COOKIE}=own")
    assert session_cookie(both, secure=True) == "own"
    assert session_cookie(both, secure=False) == "planted"
    assert session_cookie(request(f"{COOKIE}=before-tls"), secure=True) == "before-tls"
    assert session_cookie(request(f"{HOST_PREFIX}{COOKIE}=own"), secure=False) is None


def test_without_a_session_cookie_there_is_no_token() -> None:
    assert session_cookie(request(), secure=True) is None
    assert session_cookie(request(f"{COOKIE}=; other{COOKIE}=x"), secure=True) is None


def test_response_has_a_date_in_http_format() -> None:
    date = dict(fixed_headers([], hsts=False))[b"Date"].decode()
    # RFC 9110, section 5.6.7.
    assert re.fullmatch(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z][a-z] \d{4} \d\d:\d\d:\d\d GMT", date)
    assert parsedate_to_datetime(date).utcoffset() is not None
