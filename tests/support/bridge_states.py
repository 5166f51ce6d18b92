"""What CloudFormation refuses for the status a stack is in, and ministack does not.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html (status codes). The wording of the refusals
is what AWS is reported to answer.
"""

from ministack.services import cloudformation
from ministack.services.cloudformation import changesets, handlers

UPDATABLE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE",
             "CREATE_FAILED", "UPDATE_FAILED")
# An end of these can be asked for while they go on.
ENDABLE = ("CREATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "REVIEW_IN_PROGRESS")


def find(named):
    if named.startswith("arn:"):
        named = named.split("/")[1]
    stack = cloudformation._stacks.get(named)
    return stack if stack and stack["StackStatus"] != "DELETE_COMPLETE" else None


def not_updatable(stack):
    if stack and stack["StackStatus"] not in UPDATABLE:
        return handlers._error("ValidationError", f"Stack:{stack['StackId']} is in {stack['StackStatus']} state and can not be updated.")
    return None


def update(params):
    return not_updatable(find(handlers._p(params, "StackName")))


def create_change_set(params):
    stack = find(handlers._p(params, "StackName"))
    if handlers._p(params, "ChangeSetType", "UPDATE") != "CREATE":
        return not_updatable(stack)
    if stack and stack["StackStatus"] != "REVIEW_IN_PROGRESS":
        named = handlers._p(params, "ChangeSetName")
        return handlers._error("AlreadyExistsException", f"Stack [{stack['StackName']}] already exists and cannot be created again with the changeSet [{named}].")
    return None


def execute_change_set(params):
    _, change_set = changesets._find_change_set(handlers._p(params, "ChangeSetName"), handlers._p(params, "StackName"))
    if change_set and change_set.get("ChangeSetType", "UPDATE") == "UPDATE":
        return not_updatable(find(change_set["StackName"]))
    return None


def delete(params):
    stack = find(handlers._p(params, "StackName"))
    if not stack:
        return None
    status = stack["StackStatus"]
    if status.endswith("_IN_PROGRESS") and status not in ENDABLE:
        return handlers._error("ValidationError", f"Stack [{stack['StackId']}] cannot be deleted while in status {status}")
    if status != "DELETE_FAILED" and "RetainResources.member.1" in params:
        return handlers._error("ValidationError", (
            f"Invalid operation on stack [{stack['StackId']}]. When you delete a stack, specify which resources to retain only when the "
            "stack is in the DELETE_FAILED state."))
    return None


def refusing(refusal, original):
    return lambda params: refusal(params) or original(params)


def install():
    table = handlers._ACTION_HANDLERS
    refusals = {"UpdateStack": update, "CreateChangeSet": create_change_set, "ExecuteChangeSet": execute_change_set, "DeleteStack": delete}
    table |= {action: refusing(refusal, table[action]) for action, refusal in refusals.items()}
