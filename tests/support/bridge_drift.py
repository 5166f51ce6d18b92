"""Drift of stack resources as a test orders it; without orders ministack's own, which reads S3, IAM, SSM and a few more.

  {"logical": "Web*", "stack": "*", "status": "MODIFIED" | "DELETED" | "IN_SYNC" | "UNKNOWN", "reason": "…",
   "differences": [{"PropertyPath": "/MinSize", "ExpectedValue": "2", "ActualValue": "3", "DifferenceType": "NOT_EQUAL"}]}
  {"describes": n}           so many DescribeStackDriftDetectionStatus say DETECTION_IN_PROGRESS (0)
A list of these. A resource of a type that ministack cannot read and that no order is about is not checked, as in AWS.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-stack-drift.html
"""

import json
import re
from fnmatch import fnmatchcase

from ministack.services.cloudformation import drift, handlers

KEYS = {"logical", "stack", "status", "reason", "differences", "describes"}
ORDERS, ASKED = [], {}


def order(wanted):
    for one in wanted:
        if set(one) - KEYS or one.get("status", "MODIFIED") not in drift.RESOURCE_DRIFT_STATUSES:
            raise ValueError(f"no such order for drift: {one}; known: {' '.join(sorted(KEYS))}")
    ORDERS[:] = wanted


def clear():
    ORDERS.clear()
    ASKED.clear()


def about(stack, logical):
    for one in ORDERS:
        if "status" in one and fnmatchcase(logical, one.get("logical", "*")) and fnmatchcase(stack, one.get("stack", "*")):
            return one
    return None


def detect_stack(params, original=handlers._ACTION_HANDLERS["DetectStackDrift"], supports=drift.supports_drift):
    """ministack asks by type whether it can check a resource: of this stack also those that an order is about."""
    stack, _ = handlers._drift_target(handlers._p(params, "StackName"))
    kinds = {r["ResourceType"] for key, r in (stack or {}).get("_resources", {}).items() if about(stack["StackName"], key)}
    drift.supports_drift = lambda kind: supports(kind) or kind in kinds
    try:
        return original(params)
    finally:
        drift.supports_drift = supports


def detect(stack, logical, record, timestamp, original=drift.detect_resource_drift, supports=drift.supports_drift):
    one = about(stack["StackName"], logical)
    if one is None and supports(record.get("ResourceType", "")):
        return original(stack, logical, record, timestamp)
    properties = json.dumps(record.get("Properties") or {}, sort_keys=True, default=str)
    found = {
        "StackId": stack["StackId"], "LogicalResourceId": logical, "PhysicalResourceId": record.get("PhysicalResourceId", ""),
        "ResourceType": record.get("ResourceType", ""), "Timestamp": timestamp,
        "StackResourceDriftStatus": one["status"] if one else "IN_SYNC",
    }
    if found["StackResourceDriftStatus"] != "DELETED":
        found |= {"ExpectedProperties": properties, "ActualProperties": properties}
    if one and one.get("differences"):
        found["PropertyDifferences"] = one["differences"]
    if one and one.get("reason"):
        found["DriftStatusReason"] = one["reason"]
    return found


def describe_status(params, original=handlers._ACTION_HANDLERS["DescribeStackDriftDetectionStatus"]):
    status, headers, body = original(params)
    key = handlers._p(params, "StackDriftDetectionId")
    ASKED[key] = ASKED.get(key, 0) + 1
    if ASKED[key] > next((int(o["describes"]) for o in ORDERS if "describes" in o), 0):
        return status, headers, body
    body = re.sub(rb"<DetectionStatus>[^<]*", b"<DetectionStatus>DETECTION_IN_PROGRESS", body)
    body = re.sub(rb"<(StackDriftStatus|DetectionStatusReason|DriftedStackResourceCount)>[^<]*</\1>", b"", body)
    return status, headers, body


def install():
    drift.detect_resource_drift = detect
    handlers._ACTION_HANDLERS |= {"DetectStackDrift": detect_stack, "DescribeStackDriftDetectionStatus": describe_status}
