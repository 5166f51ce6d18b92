#!/usr/bin/env python3
"""A fake, and it says so: an HTTP proxy in front of moto and ministack that adds what they lack of AWS, and faults on demand.

aws_proxy.py [--port PORT] [--until-stdin-ends]        with the Python of the venv that tests/setup.sh makes: it starts both

It stands for the Amazon EC2 API where moto is too kind: client tokens, in-use checks, spot that cannot be stopped
(aws_ec2.py; each rule cites the documentation page it follows); and where a real cloud fails: capacity, quotas,
throttling, lost replies, late visibility, launches that end (aws_rules.py; told by a script). CloudFormation, Auto Scaling, S3
and all but EC2, SSM and STS are ministack's, which starts at the first request for it. The bridge joins the two (aws_bridge.py,
bridge_main.py): the groups and instances of a stack are instances in moto. What passes here has passed against this reading of
the documentation, not against AWS, and nothing is claimed about how long anything takes there. Signatures are not checked.

Control, all JSON:
  POST /_proxy/script    a list of rules (see aws_rules.py), which replaces the one before; they are about every service
  POST /_proxy/stop      {"call": n, "when": "before" | "after", "of": "mutating" | "all"}: the n-th call from now is
                         held, before it is forwarded or before its answer is given, and with it all later mutating ones
  GET  /_proxy/stopped   waits (?wait=SECONDS) for that: {"stopped": bool, "call": {...}}
  POST /_proxy/release   forgets the stop; the connections that are held are closed
  GET  /_proxy/calls     the calls seen: number, service, action, params, region, mutating, at, took, status, error, what
  GET  /_proxy/resources ?region=R: what exists there beyond what an account has by default, in both (see aws_resources.py and
                         bridge_exists.py)
  GET  /_proxy/machine   ?region=R&address=A: the running instance of this address: id, user_data (base64), public_key, source: the
                         instance that its image was made of (see aws_machine.py)
  POST /_proxy/shutdown  ?region=R {"instance": id}: it shuts itself down
  POST /_proxy/console   {"instance": id, "output": text, "after": n}: what its console says from the n-th question on
  POST /_proxy/resource, /_proxy/change, /_proxy/status   ?region=R: what happens to resources of stacks, what change sets show,
                         the status of a stack (see bridge_control.py: one page, with the forms)
  POST /_proxy/drift     ?region=R: what drift detection finds (see bridge_drift.py)
  POST /_proxy/targets   ?region=R: the health of targets (see bridge_balancer.py)
  POST /_proxy/forget    clears script, stop and log;  POST /_proxy/reset  also the clouds, and what was ordered of them
  GET  /_proxy/health
  GET  /checkip          the caller's public address as checkip.amazonaws.com tells it: 198.51.100.7
"""

import argparse
import http.client
import json
import re
import signal
import socket
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aws_answers
import aws_bridge
import aws_ec2
import aws_emulators
import aws_resources
import aws_rules

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/throttling.html tells reads from changes by the first of these; the
# others ask, too: Head of S3, Validate, Detect and Estimate of CloudFormation.
READS = ("Describe", "Get", "List", "Search", "Lookup", "Assume", "Decode", "Head", "Validate", "Detect", "Estimate")


class Drop(Exception):
    """The connection is to be closed without an answer."""


class Call:
    """One request to the cloud."""

    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body
        # In the query of a presigned one.
        signed = headers.get("Authorization", "") or urllib.parse.unquote(path)
        scope = re.search(r"Credential=([^/]*)/[^/]*/([^/]*)/([^/]*)/", signed)
        self.key, self.region, self.service = scope.groups() if scope else ("", "us-east-1", "")
        self.params = {}
        if "x-www-form-urlencoded" in headers.get("Content-Type", ""):
            self.params = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        target = headers.get("X-Amz-Target", "").rsplit(".", 1)[-1]
        path_tells = aws_bridge.s3_action if self.service == "s3" else "{} {}".format
        self.action = self.params.pop("Action", "") or target or path_tells(method, path)
        self.params.pop("Version", None)
        self.dry_run = self.params.get("DryRun") == "true"
        self.mutating = not self.dry_run and not self.action.startswith(READS) and method in ("POST", "PUT", "DELETE")
        self.number = 0

    @staticmethod
    def elsewhere(region):
        """A caller in another region."""
        return own_call(region)

    def with_params(self, action, params):
        """A call of the same caller's, made up by us."""
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("content-length", "content-encoding")}
        headers["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
        body = urllib.parse.urlencode({"Action": action, "Version": "2016-11-15", **params}).encode()
        return Call("POST", "/", headers, body)

    def with_body(self, body):
        """The same call, with another body."""
        headers = {k: v for k, v in self.headers.items() if k.lower() != "content-length"}
        return Call(self.method, self.path, headers, body)


def own_call(region):
    """A caller in a region, for questions of the proxy's own."""
    scope = f"AWS4-HMAC-SHA256 Credential=proxy/20260101/{region}/ec2/aws4_request, Signature=none"
    return Call("POST", "/", {"Authorization": scope}, b"")


class Stop:
    """Holds the n-th call and, from then on, every further change."""

    def __init__(self):
        self.changed = threading.Condition()
        self.clear()

    def clear(self):
        with self.changed:
            self.left, self.when, self.of, self.held, self.open = 0, "before", "mutating", None, threading.Event()

    def set(self, order):
        if order["when"] not in ("before", "after") or order.get("of", "mutating") not in ("mutating", "all"):
            raise ValueError("a stop is before or after, of mutating or all calls")
        self.release()
        with self.changed:
            self.left, self.when, self.of = int(order["call"]), order["when"], order.get("of", "mutating")

    def release(self):
        """Those that are held go on, and are dropped."""
        self.open.set()
        self.clear()

    def arrives(self, call):
        """Counts the call; says whether it is the one to be held when it has been answered."""
        with self.changed:
            gate = self.open
            if self.held and call.mutating:
                hold = True
            elif not self.left or not (call.mutating or self.of == "all"):
                return False
            else:
                self.left -= 1
                if self.left:
                    return False
                if self.when == "after":
                    return True
                hold = True
                self.held = call
                self.changed.notify_all()
        if hold:
            gate.wait()
            raise Drop("held before it was forwarded")
        return False

    def answered(self, call):
        with self.changed:
            gate, self.held = self.open, call
            self.changed.notify_all()
        gate.wait()
        raise Drop("held before its answer")

    def wait(self, seconds):
        with self.changed:
            self.changed.wait_for(lambda: self.held, seconds)
            return self.held


class Proxy:
    def __init__(self, moto, ministack):
        self.moto, self.ministack = moto, ministack
        self.stop = Stop()
        self.lock = threading.Lock()
        self.fresh()

    def fresh(self):
        with self.lock:
            self.rules, self.calls, self.bridge = aws_rules.Rules([]), [], aws_bridge.Bridge(self.forward, self.ministack)
            self.cloud = aws_ec2.Cloud(self.forward, self.bridge.template_versions)
            self.actions = set()

    def forget(self):
        self.stop.release()
        with self.lock:
            self.rules, self.calls = aws_rules.Rules([]), []

    def forward(self, call):
        """(status, headers, body) of moto's answer."""
        return aws_emulators.ask(self.moto, call.method, call.path, call.headers, call.body)

    def handle(self, call):
        """(status, headers, body)"""
        began = time.time()
        note = {"action": call.action, "service": call.service, "params": call.params, "region": call.region, "key": call.key}
        note |= {"mutating": call.mutating, "dry_run": call.dry_run, "at": began, "what": "under way", "status": 0, "error": None}
        with self.lock:
            call.number = note["number"] = len(self.calls) + 1
            self.calls.append(note)
            self.actions.add((call.key, f"{call.service}:{call.action}"))
            rules, cloud = self.rules, self.cloud
        try:
            hold = self.stop.arrives(call)
            status, headers, body, note["what"] = self.answer(call, rules, cloud)
            note["status"], note["error"] = status, aws_answers.error_code(body) if status >= 400 else None
            if hold:
                self.stop.answered(call)
            return status, headers, body
        except Drop as drop:
            note["what"] = str(drop)
            raise
        finally:
            note["took"] = time.time() - began

    def answer(self, call, rules, cloud):
        """The answer and what was done: forwarded, refused by a rule of the script, or answered by us for the cloud."""
        effects = rules.effects(call, cloud.place(call) if call.service == "ec2" else {})
        time.sleep(sum(effects.waits))
        if effects.drop:
            raise Drop("dropped before it was forwarded")
        if effects.error:
            status, kind, body = aws_answers.error(*effects.error, call.service, "X-Amz-Target" in call.headers)
            return status, {"Content-Type": kind}, body, f"refused by rule: {effects.error[1]}"
        if self.bridge.handles(call):
            status, headers, body, what = self.bridge.answer(call, effects)
        elif call.service == "ec2":
            status, kind, body, what = cloud.answer(call, effects)
            headers = {"Content-Type": kind}
            if call.action == "DescribeTags" and status == 200:
                body = self.bridge.with_tags(call, body)
        else:
            status, headers, body = self.forward(call)
            headers, what = {"Content-Type": headers.get("Content-Type", "text/xml")}, "forwarded"
        if effects.lose:
            raise Drop("forwarded, the answer was lost")
        return status, headers, body, what

    def launch(self, region, body):
        """What the bridge in ministack asks of EC2 for its groups: (status, content type, body). It is no call of anybody's: not
        in the log, not held, and no rule is about it."""
        scope = own_call(region).headers | {"Content-Type": "application/x-www-form-urlencoded"}
        return self.cloud.answer(Call("POST", "/", scope, body), aws_rules.Effects())[:3]

    def control(self, method, path, query, body):
        """What /_proxy/… answers."""
        order = json.loads(body) if body else {}
        if (method, path) == ("POST", "script"):
            rules = aws_rules.Rules(order)
            with self.lock:
                self.rules = rules
        elif (method, path) == ("POST", "stop"):
            self.stop.set(order)
        elif (method, path) == ("POST", "release"):
            self.stop.release()
        elif (method, path) == ("POST", "forget"):
            self.forget()
        elif (method, path) == ("POST", "reset"):
            self.forget()
            self.ministack.reset()
            self.forward(Call("POST", "/moto-api/reset", {}, b""))
            self.fresh()
        elif (method, path) == ("GET", "stopped"):
            held = self.stop.wait(float(query.get("wait", "0")))
            return {"stopped": held is not None, "call": held and {"number": held.number, "action": held.action, "params": held.params}}
        elif (method, path) == ("GET", "calls"):
            with self.lock:
                return list(self.calls)
        elif (method, path) == ("GET", "actions"):
            with self.lock:
                return sorted(action for key, action in self.actions if key == query["key"])
        elif (method, path) == ("GET", "resources"):
            return aws_resources.resources(self.cloud, own_call(query.get("region", "us-east-1"))) + self.ministack.exists(query)
        elif (method, path) == ("GET", "machine"):
            return aws_resources.machine(self.cloud, own_call(query.get("region", "us-east-1")), query["address"])
        elif (method, path) == ("POST", "shutdown"):
            self.cloud.ask(own_call(query.get("region", "us-east-1")), "StopInstances", InstanceId_1=order["instance"])
        elif (method, path) == ("POST", "console"):
            self.cloud.consoles[order["instance"]] = [int(order.get("after", 0)), order["output"]]
        elif method == "POST" and path in aws_bridge.CONTROLS:
            self.ministack.control(path, order, region=query.get("region", "us-east-1"))
        elif (method, path) != ("GET", "health"):
            raise ValueError(f"no such control: {method} /_proxy/{path}")
        return {"ok": True}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy = None

    def reply(self, status, headers, body):
        headers = {"Content-Type": headers} if isinstance(headers, str) else headers
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, '')}", *(f"{k}: {v}" for k, v in headers.items())]
        if "Content-Length" not in headers:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join([*lines, "", ""])
        self.wfile.write(head.encode() + body)

    def serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        try:
            if url.path.startswith("/_proxy/"):
                try:
                    answer = self.proxy.control(self.command, url.path[8:], dict(urllib.parse.parse_qsl(url.query)), body)
                    self.reply(200, "application/json", json.dumps(answer).encode())
                except (ValueError, KeyError, TypeError) as e:
                    self.reply(400, "application/json", json.dumps({"error": f"{type(e).__name__}: {e}"}).encode())
            elif url.path == "/_bridge/ec2":
                self.reply(*self.proxy.launch(urllib.parse.parse_qs(url.query)["region"][0], body))
            elif url.path == "/checkip":
                self.reply(200, "text/plain", b"198.51.100.7\n")
            else:
                self.reply(*self.proxy.handle(Call(self.command, self.path, self.headers, body)))
        except Drop:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = serve

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def main():
    arguments = argparse.ArgumentParser(description="AWS, as far as moto, ministack and this know it, with faults on demand")
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--until-stdin-ends", action="store_true", help="so that nothing stays when a test is killed")
    options = arguments.parse_args()
    ministack = aws_emulators.Ministack()
    moto, address = aws_emulators.start_moto()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        Handler.proxy = Proxy(address, ministack)
        server = Server(("127.0.0.1", options.port), Handler)
        ministack.proxy = f"127.0.0.1:{server.server_port}"
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        if options.until_stdin_ends:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            sys.stdin.read()
        else:
            server.serve_forever()
    finally:
        ministack.stop()
        moto.kill()
        moto.wait()


if __name__ == "__main__":
    main()
