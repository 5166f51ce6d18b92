"""Change sets of nested stacks, and templates in buckets whose address says the bucket in its host.

With IncludeNestedStacks a change of a nested stack that is there has a change set of its own, made, executed and deleted with that
of its parent. A nested stack that is added has none (in AWS it has): what is in it is only seen when it is made.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/change-sets-for-nested-stacks.html
"""

import re
import uuid

from ministack.services import cloudformation
from ministack.services.cloudformation import changesets, handlers, helpers, stacks

KIND = "AWS::CloudFormation::Stack"
MASK = "****"


def with_path_style(url):
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html"""
    return re.sub(r"^https://([^/]+)\.s3[.-][^/]*/", r"https://s3.amazonaws.com/\1/", url)


def document(params, body_key, url_key, label, original=helpers._resolve_document):
    url = helpers._p(params, url_key)
    return original({**params, url_key: [with_path_style(url)]} if url else params, body_key, url_key, label)


def child_of(change_set, logical):
    """The nested stack that is there, by its physical id: its name, or its ARN."""
    parent = cloudformation._stacks.get(change_set["StackName"]) or {}
    physical = (parent.get("_resources", {}).get(logical) or {}).get("PhysicalResourceId", "")
    return cloudformation._stacks.get(physical.split("/")[1] if physical.startswith("arn:") else physical)


def make_child(change_set, logical):
    """The id of the nested stack's change set, or nothing if it would not change."""
    child = child_of(change_set, logical)
    if child is None:
        return None
    resolved = stacks._resolve_refs(
        change_set["_template"]["Resources"][logical].get("Properties") or {},
        (cloudformation._stacks.get(change_set["StackName"]) or {}).get("_resources", {}), change_set["_resolved_params"], {},
        change_set["_template"].get("Mappings", {}), change_set["StackName"], change_set["StackId"],
    )
    params = {
        "Action": ["CreateChangeSet"], "StackName": [child["StackName"]], "ChangeSetName": [f"{change_set['ChangeSetName']}-{logical}-{uuid.uuid4().hex[:12]}"],
        "ChangeSetType": ["UPDATE"], "TemplateURL": [resolved["TemplateURL"]], "IncludeNestedStacks": ["true"],
    }
    params |= {f"Capabilities.member.{n}": [c] for n, c in enumerate(change_set.get("Capabilities", []), 1)}
    for n, (key, value) in enumerate((resolved.get("Parameters") or {}).items(), 1):
        params |= {f"Parameters.member.{n}.ParameterKey": [key], f"Parameters.member.{n}.ParameterValue": [str(value)]}
    made = create(params)
    found = re.search(rb"<Id>([^<]*)</Id>", made[2])
    nested = cloudformation._change_sets.get(found.group(1).decode()) if found else None
    if nested is None or nested["Status"] == "FAILED":
        if nested is not None:
            cloudformation._change_sets.pop(nested["ChangeSetId"], None)
        return None
    nested["ParentChangeSetId"] = change_set["ChangeSetId"]
    nested["RootChangeSetId"] = change_set.get("RootChangeSetId") or change_set["ChangeSetId"]
    return nested["ChangeSetId"]


def create(params, original=changesets._create_change_set):
    status, headers, body = original(params)
    found = re.search(rb"<Id>([^<]*)</Id>", body)
    change_set = cloudformation._change_sets.get(found.group(1).decode()) if status == 200 and found else None
    if change_set is None:
        return status, headers, body
    # What is not to be shown is not shown here either.
    hidden = {k for k, v in change_set["_resolved_params"].items() if v.get("NoEcho")}
    for parameter in change_set["Parameters"]:
        if parameter["ParameterKey"] in hidden:
            parameter["ParameterValue"] = MASK
    if helpers._p(params, "IncludeNestedStacks") == "true":
        for change in change_set["Changes"]:
            of = change["ResourceChange"]
            nested = make_child(change_set, of["LogicalResourceId"]) if of.get("ResourceType") == KIND and of.get("Action") == "Modify" else None
            if nested:
                of["ChangeSetId"] = nested
    return status, headers, body


def children(key):
    return [c for c in cloudformation._change_sets.values() if c.get("ParentChangeSetId") == key]


def drop_children(key):
    for child in children(key):
        drop_children(child["ChangeSetId"])
        cloudformation._change_sets.pop(child["ChangeSetId"], None)


def ends(original):
    """Of a call that ends a change set: those below it go, too."""
    def handler(params):
        key, _ = changesets._find_change_set(helpers._p(params, "ChangeSetName"), helpers._p(params, "StackName"))
        answer = original(params)
        if key and answer[0] == 200:
            drop_children(key)
        return answer
    return handler


def family(change_set):
    return "".join(f"<{k}>{change_set[k]}</{k}>" for k in ("ParentChangeSetId", "RootChangeSetId") if change_set.get(k))


def describe(params, original=changesets._describe_change_set):
    status, headers, body = original(params)
    _, change_set = changesets._find_change_set(helpers._p(params, "ChangeSetName"), helpers._p(params, "StackName"))
    if status != 200 or change_set is None:
        return status, headers, body
    text = body.decode()
    for change in change_set["Changes"]:
        of = change["ResourceChange"]
        if of.get("ChangeSetId"):
            at = f"<LogicalResourceId>{of['LogicalResourceId']}</LogicalResourceId>"
            text = text.replace(at, f"{at}<ChangeSetId>{of['ChangeSetId']}</ChangeSetId>", 1)
    text = text.replace("</DescribeChangeSetResult>", family(change_set) + "</DescribeChangeSetResult>")
    return status, headers, text.encode()


def show_list(params, original=changesets._list_change_sets):
    status, headers, body = original(params)
    text = body.decode()
    for change_set in cloudformation._change_sets.values():
        at = f"<ChangeSetId>{change_set['ChangeSetId']}</ChangeSetId>"
        text = text.replace(at, at + family(change_set), 1)
    return status, headers, text.encode()


def install():
    helpers._resolve_document = document
    table = handlers._ACTION_HANDLERS
    table |= {"CreateChangeSet": create, "DescribeChangeSet": describe, "ListChangeSets": show_list,
              "ExecuteChangeSet": ends(table["ExecuteChangeSet"]), "DeleteChangeSet": ends(table["DeleteChangeSet"])}
