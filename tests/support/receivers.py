"""A real mail server and a real web server that tell what they receive, one JSON object a line.

    receivers.py CERTIFICATE KEY

The first line names the ports: plain (no login), starttls (login after STARTTLS), tls (TLS from the first byte, login), web,
silent (accepts and says nothing). User `ops`, password from the environment, MAIL_PASSWORD. Ends when stdin does.
Mails to refused@… are refused. POST /refuse answers 403, all else 200.
"""

import json
import logging
import os
import socket
import ssl
import sys
import threading
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

logging.getLogger("mail.log").setLevel(logging.CRITICAL)
lock = threading.Lock()


def tell(what):
    with lock:
        print(json.dumps(what), flush=True)


class Mails:
    def __init__(self, port):
        self.port = port

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused@"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = message_from_bytes(envelope.content, policy=policy.default)
        tell({
            "port": self.port, "user": session.auth_data, "tls": session.ssl is not None,
            "from": envelope.mail_from, "to": envelope.rcpt_tos,
            "headers": {name.lower(): str(value) for name, value in mail.items()},
            "text": mail.get_content().replace("\r\n", "\n").rstrip("\n"),
        })
        return "250 kept"


def check(server, session, envelope, mechanism, data):
    good = data.login == b"ops" and data.password == os.environ["MAIL_PASSWORD"].encode()
    return AuthResult(success=good, handled=False, auth_data="ops" if good else None)


def serve(name, context, **options):
    class Here(Controller):
        def factory(self):
            return SMTP(self.handler, **options)

    controller = Here(Mails(name), hostname="127.0.0.1", port=0, ssl_context=context)
    controller.port = free_port()
    controller.start()
    return controller.port


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Web(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        tell({"port": "web", "path": self.path, "type": self.headers["content-type"], "json": json.loads(body)})
        status, answer = (403, b"invalid_token") if self.path.startswith("/refuse") else (200, b"ok")
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def main():
    certificate, key = sys.argv[1:]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    login = {"authenticator": check, "auth_required": True}
    web = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    silent = socket.create_server(("127.0.0.1", 0))
    tell({
        "plain": serve("plain", None),
        "starttls": serve("starttls", None, tls_context=context, require_starttls=True, **login),
        "tls": serve("tls", context, auth_require_tls=False, **login),
        "web": web.server_address[1],
        "silent": silent.getsockname()[1],
    })
    sys.stdin.read()
    os._exit(0)


main()
