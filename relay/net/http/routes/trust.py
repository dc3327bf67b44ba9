"""`/trust` and `/ca.crt`: how to make each kind of device trust the relay's own authority. Also over plain HTTP.

Its table of features is checked with Chromium (tests/web_browser/test_transports.py). The page has no script.
"""

import base64
import hashlib
from pathlib import Path

from relay.net.http.caller import Caller
from relay.net.http.request import HttpRequest
from relay.net.http.response import HttpError, HttpResponse
from relay.net.tls import reading

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:0 auto;padding:1.5rem;color-scheme:light dark}"
    "h2{margin:1.6rem 0 .3rem;font-size:1.1rem}code{overflow-wrap:anywhere}"
    "a.button{display:inline-block;padding:.6rem 1rem;border:2px solid;border-radius:.5rem;font-weight:600}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.3rem .8rem .3rem 0;vertical-align:top}"
)
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'"
)

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Trust this relay</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>%(style)s</style></head><body><main>
<h1>Trust this relay</h1>
<p>This relay works without the internet, so no public authority vouches for it: it has one of its own. Install its
certificate once and your browser shows no warning, keeps a connection that nobody on the network can read or change,
and can install the chat as an app and notify you.</p>
<p><a class="button" href="/ca.crt">Download the certificate</a></p>
<p>Before you trust it, compare its SHA-256 fingerprint with the one your admin reads out
(<code>relay tls show</code>):<br><code>%(fingerprint)s</code></p>
<p>It can vouch for this relay's own names and for addresses next to its own, and for nothing else.</p>
<h2>iPhone and iPad</h2>
<p>Open this page in Safari and download. Then Settings &rsaquo; General &rsaquo; VPN &amp; Device Management: install
the profile. Then Settings &rsaquo; General &rsaquo; About &rsaquo; Certificate Trust Settings: switch it on.</p>
<h2>Android</h2>
<p>Download. Then Settings &rsaquo; Security &rsaquo; More &rsaquo; Encryption &amp; credentials &rsaquo; Install a
certificate &rsaquo; CA certificate, and pick the file. Chrome trusts it; Firefox does after its
&ldquo;Use third party CA certificates&rdquo; is switched on in its settings.</p>
<h2>Windows</h2>
<p>Open the file, Install Certificate, Local Machine, and place it in &ldquo;Trusted Root Certification
Authorities&rdquo;. Firefox takes it from there.</p>
<h2>macOS</h2>
<p>Open the file: it goes into Keychain Access. Double-click it there and set Trust to &ldquo;Always Trust&rdquo;.</p>
<h2>Linux</h2>
<p>Debian and Ubuntu: <code>sudo cp ca.crt /usr/local/share/ca-certificates/relay.crt &amp;&amp; sudo
update-ca-certificates</code>. Chromium: <code>certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n relay -i ca.crt</code>.
Firefox: Settings &rsaquo; Privacy &amp; Security &rsaquo; View Certificates &rsaquo; Authorities &rsaquo; Import.</p>
<h2>What works when</h2>
<table>
<tr><th></th><th>Chat, files, search</th><th>Notifications</th><th>Install as an app</th>
<th>Private on the network</th></tr>
<tr><th>http://</th><td>yes</td><td>no</td><td>no</td><td>no</td></tr>
<tr><th>https://, warning clicked away</th><td>yes</td><td>on computers</td><td>no</td>
<td>only if nobody was in between the first time</td></tr>
<tr><th>https://, certificate trusted</th><td>yes</td><td>yes</td><td>yes</td><td>yes</td></tr>
</table>
</main></body></html>
"""


class TrustPage:
    """The handlers of `/trust` and `/ca.crt`."""

    def __init__(self, certificate: Path) -> None:
        self._certificate = certificate

    async def show(self, _request: HttpRequest, _caller: Caller) -> HttpResponse:
        """Return the page."""
        self._check()
        page = PAGE % {"style": STYLE, "fingerprint": reading.fingerprint(self._certificate)}
        headers = [
            (b"Content-Type", b"text/html; charset=utf-8"),
            (b"Cache-Control", b"no-cache"),
            (b"Content-Security-Policy", POLICY.encode()),
        ]
        return HttpResponse(200, headers, page.encode())

    async def download(self, _request: HttpRequest, _caller: Caller) -> HttpResponse:
        """Return the authority's certificate."""
        self._check()
        headers = [
            (b"Content-Type", b"application/x-x509-ca-cert"),
            (b"Content-Disposition", b'attachment; filename="ca.crt"'),
            (b"Cache-Control", b"no-cache"),
        ]
        return HttpResponse(200, headers, self._certificate.read_bytes())

    def _check(self) -> None:
        if not self._certificate.exists():
            raise HttpError(404, "not_found", "this relay has no authority of its own")
