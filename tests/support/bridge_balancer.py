"""Target health of the instances that auto-scaling groups have, or that were registered.

A running instance is `initial` when it is asked about for the first time, then `healthy`, unless a test says otherwise:
  {"initial": n}                           so many questions say initial (1)
  {"target": "i-…" | "*", "state": "unhealthy", "reason": "Target.ResponseCodeMismatch", "description": "…"}
  {"target": "i-…" | "*", "url": "http://127.0.0.1:80"}       a real GET of the health check's path there, at each question
A list of these; the first that is about a target holds.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
"""

import urllib.error
import urllib.request
from fnmatch import fnmatchcase
from xml.sax.saxutils import escape

import bridge_instances
from ministack.services import alb as _alb
from ministack.services import autoscaling as _asg

KEYS = {"initial", "target", "state", "reason", "description", "url"}
ORDERS, ASKED = [], {}


def order(wanted):
    for one in wanted:
        if set(one) - KEYS:
            raise ValueError(f"no such order for targets: {one}; known: {' '.join(sorted(KEYS))}")
    ORDERS[:] = wanted


def clear():
    ORDERS.clear()
    ASKED.clear()


def matches(codes, status):
    """200, 200,302 or 200-299"""
    spans = [c.split("-") for c in (codes or "200").split(",")]
    return any(int(s[0]) <= status <= int(s[-1]) for s in spans)


def really(url, group):
    """(state, reason, description) of a real request."""
    path = group.get("HealthCheckPath") or "/"
    try:
        with urllib.request.urlopen(url.rstrip("/") + path, timeout=5) as reply:
            status = reply.status
    except urllib.error.HTTPError as e:
        status = e.code
    except OSError as e:
        return "unhealthy", "Target.Timeout" if isinstance(e, TimeoutError) else "Target.FailedHealthChecks", f"Health checks failed: {e}"
    if matches((group.get("Matcher") or {}).get("HttpCode"), status):
        return "healthy", "", ""
    return "unhealthy", "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{status}]"


def state_of(arn, group, target, alive):
    item = alive.get(target)
    if target.startswith("i-") and (item is None or item.findtext("instanceState/name") != "running"):
        return "unused", "Target.InvalidState", "Target is in the stopped state"
    key = arn, target
    ASKED[key] = ASKED.get(key, 0) + 1
    initial = next((int(o["initial"]) for o in ORDERS if "initial" in o), 1)
    if ASKED[key] <= initial:
        return "initial", "Elb.RegistrationInProgress", "Target registration is in progress"
    for one in ORDERS:
        if fnmatchcase(target, one.get("target", "")):
            if "url" in one:
                return really(one["url"], group)
            return one.get("state", "unhealthy"), one.get("reason", "Target.FailedHealthChecks"), one.get("description", "Health checks failed")
    return "healthy", "", ""


def describe(p):
    arn = _alb._p(p, "TargetGroupArn")
    group = _alb._tgs.get(arn)
    if group is None:
        return _alb._error("TargetGroupNotFound", f"Target group '{arn}' not found.")
    port = group.get("Port", 80)
    targets = {t["Id"]: t.get("Port", port) for t in _alb._targets.get(arn, [])}
    for asg in _asg._asgs.values():
        if arn in (asg.get("TargetGroupARNs") or []):
            _asg._reconcile_instances(asg)
            targets |= {i["InstanceId"]: port for i in asg["Instances"]}
    wanted = {t["Id"] for t in _alb._parse_targets_param(p)}
    alive = bridge_instances.described([t for t in targets if t.startswith("i-")])
    members = ""
    for target, at in targets.items():
        if wanted and target not in wanted:
            continue
        state, reason, description = state_of(arn, group, target, alive)
        why = f"<Reason>{reason}</Reason><Description>{escape(description)}</Description>" if reason else ""
        members += (f"<member><Target><Id>{target}</Id><Port>{at}</Port></Target><HealthCheckPort>{port}</HealthCheckPort>"
                    f"<TargetHealth><State>{state}</State>{why}</TargetHealth></member>")
    return _alb._xml(200, "DescribeTargetHealth", f"<TargetHealthDescriptions>{members}</TargetHealthDescriptions>")


def install():
    _alb._ACTION_MAP["DescribeTargetHealth"] = describe
