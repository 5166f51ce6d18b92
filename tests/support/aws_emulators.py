"""The emulators behind the proxy: moto, at once, and ministack, when it is first needed. Each has a port of its own on 127.0.0.1."""

import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
# What belongs to one connection, not to the message.
HOP = {"connection", "accept-encoding", "content-length", "expect", "transfer-encoding"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def needed(path):
    if not path.exists():
        sys.exit(f"{path} is missing: run `sh tests/setup.sh`, and this with the Python it installs")
    return path


def await_port(process, port, log, name):
    """Returns when it answers; ends the process and raises when it does not."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.02)
    process.kill()
    process.wait()
    log.seek(0)
    raise RuntimeError(f"{name} does not answer: {log.read().decode(errors='replace')}")


def ask(address, method, path, headers, body, seconds=120):
    """(status, headers, body) of an answer."""
    connection = http.client.HTTPConnection(address, timeout=seconds)
    try:
        connection.request(method, path, body, {k: v for k, v in headers.items() if k.lower() not in HOP})
        reply = connection.getresponse()
        return reply.status, {k.title(): v for k, v in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def start_moto():
    """(process, host:port). It is told to refuse what EC2 refuses: unknown images, key pairs and instance types."""
    port = free_port()
    strict = dict.fromkeys(["MOTO_ENABLE_AMI_VALIDATION", "MOTO_ENABLE_KEYPAIR_VALIDATION", "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"], "1")
    server = needed(pathlib.Path(sys.executable).parent / "moto_server")
    log = tempfile.TemporaryFile()
    command = [sys.executable, server, "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, env=os.environ | strict, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        await_port(process, port, log, "moto")
    except RuntimeError as e:
        sys.exit(str(e))
    return process, f"127.0.0.1:{port}"


class Ministack:
    """ministack with the bridge's half in it (bridge_main.py), in a venv of its own: it wants an older boto than moto."""

    def __init__(self):
        self.python = needed(pathlib.Path(sys.prefix).parent / "ministack/bin/python")
        self.lock, self.process, self.address, self.folder = threading.Lock(), None, None, None
        # Where the proxy answers, once it does: the bridge runs moto's instances through it.
        self.proxy = None

    def started(self):
        """host:port, of one that is started if none was."""
        with self.lock:
            if self.process is None:
                self.start()
            return self.address

    def start(self):
        port = free_port()
        self.folder = tempfile.TemporaryDirectory(prefix="ministack-")
        settings = {
            "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0",
            "MINISTACK_ACCOUNT_ID": "123456789012", "TMPDIR": self.folder.name, "LOG_LEVEL": "WARNING",
            "OPSRUN_PROXY": self.proxy, "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1",
        }
        log = open(pathlib.Path(self.folder.name) / "log", "w+b")
        # It ends when its stdin does, so also when the proxy is killed.
        process = subprocess.Popen(
            [self.python, HERE / "bridge_main.py"], env=os.environ | settings, cwd=self.folder.name,
            stdin=subprocess.PIPE, stdout=log, stderr=log,
        )
        await_port(process, port, log, "ministack")
        self.process, self.address = process, f"127.0.0.1:{port}"

    def control(self, name, order=None, **query):
        """The bridge's own answer (bridge_control.py)."""
        path = f"/_bridge/{name}?" + "&".join(f"{k}={v}" for k, v in query.items())
        body = json.dumps(order).encode() if order is not None else b""
        status, _, body = ask(self.started(), "POST", path, {"Content-Type": "application/json"}, body)
        answer = json.loads(body)
        if status != 200:
            raise ValueError(answer["error"])
        return answer

    def running(self):
        with self.lock:
            return self.process is not None

    def reset(self):
        """Nothing is in it then; one that does not run is not started for it."""
        if self.running():
            self.control("reset")

    def exists(self, query):
        return self.control("exists", region=query.get("region", "us-east-1")) if self.running() else []

    def stop(self):
        with self.lock:
            if self.process is not None:
                self.process.kill()
                self.process.wait()
                self.folder.cleanup()
                self.process = None
