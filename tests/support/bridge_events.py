"""Events of stacks that CloudFormation has and ministack does not, and pages as small as a test wants them.

A resource that is created says so twice, the second time with its physical id; an update ends with a cleanup; a failed create
says whose fault it was, and what it broke off: the `cancels` of an order (bridge_control.py) were under way when its resource failed.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
"""

import contextvars

from ministack.services import cloudformation
from ministack.services.cloudformation import changesets, engine, handlers, helpers, stacks

STACK = "AWS::CloudFormation::Stack"
# How many items a page of this request holds, at most.
MOST = contextvars.ContextVar("opsrun_most", default=None)
FAILED = {"CREATE_FAILED": "creation", "UPDATE_FAILED": "update"}
# Those of bridge_control.py; set by it.
ORDERS = []


def cancelled(stack_name, logical, status, reason):
    """(logical id, type) of what this failure broke off."""
    body = (cloudformation._stacks.get(stack_name) or {}).get("_template_body") or "{}"
    for one in ORDERS:
        if status in FAILED and one.get("fail") == reason and one.get("cancels"):
            resources = engine._parse_template(body).get("Resources", {})
            return [(c, resources[c]["Type"]) for c in one["cancels"] if c in resources and c != logical]
    return []


def add(stack_id, stack_name, logical, kind, status, reason="", physical_id="", detailed_status="", original=stacks._add_event):
    others = cancelled(stack_name, logical, status, reason)
    if kind == STACK and logical == stack_name:
        if status == "UPDATE_COMPLETE":
            original(stack_id, stack_name, logical, kind, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", physical_id=stack_id)
        if status == "ROLLBACK_IN_PROGRESS" and reason == "Rollback requested":
            failed = [e["LogicalResourceId"] for e in cloudformation._stack_events.get(stack_id, []) if e["ResourceStatus"] == "CREATE_FAILED"]
            reason = f"The following resource(s) failed to create: [{', '.join(dict.fromkeys(failed))}]. Rollback requested by user."
    elif status == "CREATE_COMPLETE":
        original(stack_id, stack_name, logical, kind, "CREATE_IN_PROGRESS", "Resource creation Initiated", physical_id)
    for other, its in others:
        original(stack_id, stack_name, other, its, status.replace("FAILED", "IN_PROGRESS"))
    original(stack_id, stack_name, logical, kind, status, reason, physical_id, detailed_status)
    for other, its in others:
        original(stack_id, stack_name, other, its, status, f"Resource {FAILED[status]} cancelled")


def page(items, params, action, page_size=helpers.PAGE_SIZE, original=helpers._page):
    return original(items, params, action, min(page_size, MOST.get() or page_size))


def install(orders):
    global ORDERS
    ORDERS = orders
    stacks._add_event = add
    for module in (changesets, handlers):
        module._page = page
