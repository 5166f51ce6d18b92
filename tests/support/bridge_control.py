"""What a test orders of ministack, and what exists in it. All by POST /_bridge/NAME, which the proxy's /_proxy/NAME hands on.

resource   a list, which replaces the one before, of what happens to resources of stacks:
             {"logical": "Web*", "on": "create" | "update" | "delete" | "*", "stack": "…", "after": n, "first": n,
              "fail": "the reason"}      or     {…, "wait": seconds}      (both may be)
           With "cancels": ["Other", …] these were under way, too, and are broken off: only events say so.
           A failed create or update rolls back; one that fails again on its way back (an update is called for that, too) gives
           UPDATE_ROLLBACK_FAILED; a delete that fails gives DELETE_FAILED, in a rollback ROLLBACK_FAILED.
change     a list of what change sets made from now on show of a resource, whatever ministack thinks of it:
             {"logical": "Database", "stack": "*", "Replacement": "Conditional", "Action": "Dynamic", "PolicyAction": "…", "Scope": […]}
status     {"stack": "name", "status": "ROLLBACK_FAILED", "reason": "…", "describes": n, "then": "…", "then_reason": "…"}
           puts a stack into this status, with an event that says so; it is ministack's status from then on, which acts on it as on
           its own. With `describes` only for so many DescribeStacks; then it is in `then`, with an event.
drift      see bridge_drift.py;   targets: see bridge_balancer.py
exists     ?region=R: what is there beyond what an account has by default;  reset: nothing is
"""

import asyncio
import json
import time
import urllib.parse
from fnmatch import fnmatchcase

import bridge_balancer
import bridge_drift
import bridge_events
import bridge_exists
import ministack.app
from ministack.core.responses import set_request_account_id, set_request_region
from ministack.services import cloudformation
from ministack.services.cloudformation import changesets, handlers, provisioners, stacks

STATUSES = {f"{o}_{s}" for o in ("CREATE", "ROLLBACK", "DELETE", "UPDATE", "UPDATE_ROLLBACK", "IMPORT", "IMPORT_ROLLBACK")
            for s in ("IN_PROGRESS", "FAILED", "COMPLETE")} - {"IMPORT_FAILED"}
STATUSES |= {"UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "REVIEW_IN_PROGRESS"}
RESOURCES, CHANGES, LATER = [], [], {}
KNOWN = {
    "resource": {"logical", "on", "stack", "after", "first", "fail", "wait", "cancels"},
    "change": {"logical", "stack", "Replacement", "Action", "PolicyAction", "Scope", "Details"},
    "status": {"stack", "status", "reason", "describes", "then", "then_reason"},
}


def check(name, orders):
    for one in orders:
        if set(one) - KNOWN[name]:
            raise ValueError(f"no such order for {name}: {one}; known: {' '.join(sorted(KNOWN[name]))}")


# --- resources


def happens(on, stack, logical):
    """Waits, or raises what was ordered for this resource."""
    for one in RESOURCES:
        here = fnmatchcase(logical or "", one.get("logical", "*")) and fnmatchcase(stack or "", one.get("stack", "*"))
        if not here or not fnmatchcase(on, one.get("on", "*")):
            continue
        one["seen"] = one.get("seen", 0) + 1
        n = one["seen"] - int(one.get("after", 0))
        if n < 1 or n > int(one.get("first", n)):
            continue
        time.sleep(float(one.get("wait", 0)))
        if "fail" in one:
            raise ValueError(one["fail"])


def provision(kind, logical, props, stack, original=provisioners._provision_resource):
    happens("create", stack, logical)
    return original(kind, logical, props, stack)


def update(kind, physical, old, new, stack, logical=None, attrs=None, original=provisioners._update_resource):
    if old != new:
        happens("update", stack, logical)
    return original(kind, physical, old, new, stack, logical, attrs)


def delete(kind, physical, props, stack=None, logical=None, original=provisioners._delete_resource):
    happens("delete", stack, logical)
    original(kind, physical, props, stack, logical)


def on_a_thread(kind, original=stacks._runs_on_worker_thread):
    """What waits does not keep the others waiting; what asks moto does not either."""
    return original(kind) or kind in ("AWS::EC2::Instance", "AWS::AutoScaling::AutoScalingGroup") or any("wait" in o for o in RESOURCES)


# --- change sets


def changed(old, new, *args, original=stacks._diff_resources, **more):
    changes = original(old, new, *args, **more)
    by_id = {c["ResourceChange"]["LogicalResourceId"]: c["ResourceChange"] for c in changes}
    for one in CHANGES:
        logical = one["logical"]
        if logical not in by_id:
            kind = (new.get("Resources", {}).get(logical) or old.get("Resources", {}).get(logical) or {}).get("Type")
            if kind is None:
                continue
            by_id[logical] = {"Action": "Modify", "LogicalResourceId": logical, "ResourceType": kind, "Scope": [], "Details": []}
            changes.append({"ResourceChange": by_id[logical]})
        by_id[logical] |= {k: v for k, v in one.items() if k not in ("logical", "stack")}
    return changes


# --- stacks


def put_status(stack, status, reason):
    stack["StackStatus"], stack["StackStatusReason"] = status, reason
    stacks._add_event(stack["StackId"], stack["StackName"], stack["StackName"], "AWS::CloudFormation::Stack", status, reason, stack["StackId"])


def status(order):
    check("status", [order])
    stack = cloudformation._stacks.get(order["stack"])
    if stack is None:
        raise ValueError(f"no stack {order['stack']}")
    for name in ("status", "then"):
        if name in order and order[name] not in STATUSES:
            raise ValueError(f"{order[name]} is no status of a stack; known: {' '.join(sorted(STATUSES))}")
    put_status(stack, order["status"], order.get("reason", ""))
    LATER.pop(stack["StackId"], None)
    if "then" in order:
        LATER[stack["StackId"]] = [int(order.get("describes", 1)), order["then"], order.get("then_reason", "")]


def describe(params, original=handlers._ACTION_HANDLERS["DescribeStacks"]):
    answer = original(params)
    named = handlers._p(params, "StackName")
    for stack in list(cloudformation._stacks.values()):
        later = LATER.get(stack["StackId"])
        if later and named in ("", stack["StackName"], stack["StackId"]):
            later[0] -= 1
            if later[0] <= 0:
                put_status(stack, *LATER.pop(stack["StackId"])[1:])
    return answer


# --- control


async def reset():
    RESOURCES.clear()
    CHANGES.clear()
    LATER.clear()
    bridge_balancer.clear()
    bridge_drift.clear()
    # A stack operation that is under way must not go on in the next test.
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task() and "cloudformation" in repr(task.get_coro()):
            task.cancel()
    async with ministack.app._get_reset_lock():
        await asyncio.to_thread(ministack.app._reset_all_state)


async def control(name, query, order):
    set_request_account_id("")
    set_request_region(query.get("region", "us-east-1"))
    if name == "reset":
        await reset()
    elif name == "resource":
        check(name, order)
        RESOURCES[:] = order
    elif name == "change":
        check(name, order)
        CHANGES[:] = order
    elif name == "status":
        status(order)
    elif name == "targets":
        bridge_balancer.order(order)
    elif name == "drift":
        bridge_drift.order(order)
    elif name == "exists":
        return bridge_exists.resources()
    else:
        raise ValueError(f"no such control: {name}")
    return {"ok": True}


def install(inner):
    """The application with these paths before it."""
    for module in (provisioners, stacks, changesets, handlers):
        for name, function in (("_provision_resource", provision), ("_update_resource", update), ("_delete_resource", delete),
                               ("_runs_on_worker_thread", on_a_thread), ("_diff_resources", changed)):
            if hasattr(module, name):
                setattr(module, name, function)
    handlers._ACTION_HANDLERS["DescribeStacks"] = describe
    bridge_events.install(RESOURCES)

    async def app(scope, receive, send):
        if scope["type"] != "http" or not scope["path"].startswith("/_bridge/"):
            most = dict(scope.get("headers") or []).get(b"x-opsrun-most")
            bridge_events.MOST.set(int(most) if most else None)
            return await inner(scope, receive, send)
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        query = dict(urllib.parse.parse_qsl(scope["query_string"].decode()))
        try:
            code, answer = 200, await control(scope["path"].removeprefix("/_bridge/"), query, json.loads(body or b"null"))
        except (ValueError, KeyError, TypeError) as e:
            code, answer = 400, {"error": f"{type(e).__name__}: {e}"}
        text = json.dumps(answer).encode()
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": code, "headers": head})
        await send({"type": "http.response.body", "body": text})

    return app
