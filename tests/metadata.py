"""What gives the machines of a cloud their credentials: roles of instances, containers and pods."""

from __future__ import annotations

import json
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

FUTURE = "2099-01-01T00:00:00Z"
TOKEN = "a-token-of-the-metadata-service"


@dataclass
class Metadata:
    """An address that answers as those of Amazon do.

    Attributes:
        endpoint: the address.
        key: the access key that is given out.
        seen: method, path and headers of each request.
    """

    endpoint: str = ""
    key: str = "ROLEKEY"
    seen: list = field(default_factory=list)

    def answer(self, method, path, headers):
        """Return a status and a text."""
        parts = urlsplit(path)
        if parts.path == "/latest/api/token":
            return (200, TOKEN) if method == "PUT" else (405, "")
        if parts.path.startswith("/latest/meta-data/iam/security-credentials/"):
            if headers.get("X-aws-ec2-metadata-token") != TOKEN:
                return 401, ""
            return 200, ("lab" if parts.path.endswith("/") else self._credentials())
        if parts.path == "/container":
            return (200, self._credentials()) if headers.get("Authorization") else (401, "")
        action = parse_qs(parts.query).get("Action", [""])[0]
        return (200, self._assumed()) if action == "AssumeRoleWithWebIdentity" else (404, "")

    def _credentials(self):
        found = {
            "Code": "Success",
            "LastUpdated": "2026-01-01T00:00:00Z",
            "Type": "AWS-HMAC",
            "AccessKeyId": self.key,
            "SecretAccessKey": "rolesecret",
            "Token": "roletoken",
            "Expiration": FUTURE,
        }
        return json.dumps(found)

    def _assumed(self):
        return (
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
            f"<AccessKeyId>{self.key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
            f"<SessionToken>t</SessionToken><Expiration>{FUTURE}</Expiration>"
            "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )


@contextmanager
def metadata(certificates=None):
    """Such an address, on this machine; with TLS if there are certificates for it."""
    made = Metadata()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            made.seen.append((self.command, self.path, dict(self.headers)))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.title(): value for name, value in self.headers.items()}
            headers["X-aws-ec2-metadata-token"] = headers.get("X-Aws-Ec2-Metadata-Token")
            status, text = made.answer(self.command, self.path, headers)
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_PUT = do_POST = answer  # noqa: N815

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    made.endpoint = f"http://127.0.0.1:{server.server_port}"
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.cert, certificates.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        made.endpoint = made.endpoint.replace("http:", "https:")
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
