"""Auto-scaling groups of ministack with instances of moto.

A group has as many as it wants when its resource is complete, and again whenever somebody asks about it: an instance that was
ended is replaced. An update of a stack replaces the instances of an older launch template only under an UpdatePolicy that says
so; an instance refresh always does. WaitOnResourceSignals is not waited for.
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-updatepolicy.html
"""

import re

import bridge_instances
from ministack.core.responses import get_region
from ministack.services import autoscaling as _asg
from ministack.services import ec2 as _ec2
from ministack.services.cloudformation import _stacks, engine, provisioners, stacks

KIND = "AWS::AutoScaling::AutoScalingGroup"


def launch_data(asg):
    """(template's name and version, or none; what to launch)"""
    number, data = bridge_instances.template_version(asg.get("LaunchTemplate"))
    if data is not None:
        return {**asg["LaunchTemplate"], "Version": number}, data
    config = _asg._launch_configs.get(asg.get("LaunchConfigurationName") or "")
    if config is None:
        raise ValueError("You must use a valid fully-formed launch template. The specified launch template, with template ID "
                         f"{(asg.get('LaunchTemplate') or {}).get('LaunchTemplateId')}, does not exist.")
    return {}, config


def zones(asg):
    named = [s for s in (asg.get("VPCZoneIdentifier") or "").split(",") if s]
    found = [_ec2._subnets[s]["AvailabilityZone"] for s in named if s in _ec2._subnets]
    return found or asg["AvailabilityZones"] or [f"{get_region()}a"]


def add(asg, zone=None):
    """One more instance, where the fewest are."""
    template, data = launch_data(asg)
    tags = bridge_instances.template_tags(data, "instance")
    tags |= {t["Key"]: t.get("Value", "") for t in asg.get("Tags", []) if t.get("PropagateAtLaunch")}
    tags["aws:autoscaling:groupName"] = asg["AutoScalingGroupName"]
    if template:
        tags |= {"aws:ec2launchtemplate:id": template["LaunchTemplateId"], "aws:ec2launchtemplate:version": template["Version"]}
    here = [i["AvailabilityZone"] for i in asg["Instances"]]
    zone = zone or min(zones(asg), key=here.count)
    item = bridge_instances.launch(data, tags, zone)
    one = {
        "InstanceId": item.findtext("instanceId"), "LifecycleState": "InService", "HealthStatus": "Healthy", "AvailabilityZone": zone,
        "ProtectedFromScaleIn": asg["NewInstancesProtectedFromScaleIn"], "LaunchTemplate": template,
        "LaunchConfigurationName": asg.get("LaunchConfigurationName", ""), "InstanceType": data.get("InstanceType", ""),
    }
    asg["Instances"].append(one)
    return one["InstanceId"]


def remove(asg, instances):
    asg["Instances"] = [i for i in asg["Instances"] if i["InstanceId"] not in instances]
    bridge_instances.end(instances)


def reconcile(asg):
    """As many as are wanted, the oldest going first."""
    alive = bridge_instances.described([i["InstanceId"] for i in asg["Instances"]])
    asg["Instances"] = [i for i in asg["Instances"] if i["InstanceId"] in alive]
    for one in asg["Instances"]:
        running = alive[one["InstanceId"]].findtext("instanceState/name") == "running"
        one["LifecycleState"] = "InService" if running else "Pending"
    spare = len(asg["Instances"]) - asg["DesiredCapacity"]
    if spare > 0:
        remove(asg, [i["InstanceId"] for i in asg["Instances"][:spare]])
    while len(asg["Instances"]) < asg["DesiredCapacity"]:
        add(asg)


def replace(asg, tell=lambda reason: None):
    """New instances for those of another launch template or version, one after the other; the old ones go after their successors came."""
    template, _ = launch_data(asg)
    config = asg.get("LaunchConfigurationName", "")
    old = [i for i in asg["Instances"] if i["LaunchTemplate"] != template or i.get("LaunchConfigurationName", "") != config]
    if old:
        tell(f"Rolling update initiated. Terminating {len(old)} obsolete instance(s) in batches of 1, while keeping at least "
             f"{asg['MinSize']} instance(s) in service.")
    for n, one in enumerate(old, 1):
        add(asg, one["AvailabilityZone"])
        tell("New instance(s) added to autoscaling group - Waiting on 0 resource signal(s).")
        remove(asg, [one["InstanceId"]])
        tell(f"Successfully terminated instance(s) [{one['InstanceId']}] (Progress {100 * n // len(old)}%).")


# --- what CloudFormation does to a group


def all_tags(props):
    """What CloudFormation adds to a group's tags, its instances get, too."""
    tags = [t if "PropagateAtLaunch" in t else {**t, "PropagateAtLaunch": True} for t in props.get("Tags") or []]
    return {**props, "Tags": tags}


def filled(asg, props):
    asg["TargetGroupARNs"] = list(props.get("TargetGroupARNs") or [])
    reconcile(asg)


def create(logical_id, props, stack_name, original=provisioners._asg_create):
    name, attributes = original(logical_id, all_tags(props), stack_name)
    try:
        filled(_asg._asgs[name], props)
    except ValueError:
        # CloudFormation deletes a group that it could not create; ministack does not know of it yet.
        delete(name, props)
        raise
    return name, attributes


def update(name, old, new, stack_name, logical_id=None, original=provisioners._asg_update):
    wanted = (_asg._asgs.get(name) or {}).get("DesiredCapacity", 0)
    after, attributes = original(name, all_tags(old), all_tags(new), stack_name, logical_id)
    asg = _asg._asgs[after]
    if "DesiredCapacity" not in new:
        # https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-autoscaling-autoscalinggroup.html: it
        # stays as somebody set it, within the group's size.
        asg["DesiredCapacity"] = max(asg["MinSize"], min(asg["MaxSize"], wanted))
    filled(asg, new)
    if after != name:
        return after, attributes
    stack = _stacks.get(stack_name) or {}
    template = engine._parse_template(stack.get("_template_body") or "{}")
    policy = (template.get("Resources", {}).get(logical_id) or {}).get("UpdatePolicy") or {}
    if "AutoScalingRollingUpdate" in policy or (policy.get("AutoScalingReplacingUpdate") or {}).get("WillReplace"):
        replace(asg, lambda reason: stacks._add_event(
            stack.get("StackId", ""), stack_name, logical_id, KIND, "UPDATE_IN_PROGRESS", reason, name))
    return after, attributes


def delete(name, props, original=provisioners._asg_delete):
    asg = _asg._asgs.get(name)
    if asg:
        asg["DesiredCapacity"] = 0
        reconcile(asg)
    original(name, props)


# --- what its own API does to it


def describe_groups(p, original=_asg._describe_asgs):
    for asg in _asg._asgs.values():
        reconcile(asg)
    status, headers, body = original(p)

    def with_targets(found):
        arns = _asg._asgs[found.group(1)].get("TargetGroupARNs") or []
        return found.group(0) + "<TargetGroupARNs>" + "".join(f"<member>{a}</member>" for a in arns) + "</TargetGroupARNs>"

    first = r"<AutoScalingGroupName>([^<]*)</AutoScalingGroupName>(?=<AutoScalingGroupARN>)"
    return status, headers, re.sub(first, with_targets, body.decode()).encode()


def describe_instances(p, original=_asg._describe_asg_instances):
    for asg in _asg._asgs.values():
        reconcile(asg)
    return original(p)


def delete_group(p, original=_asg._delete_asg):
    asg = _asg._asgs.get(_asg._p(p, "AutoScalingGroupName"))
    if asg and asg["Instances"] and _asg._p(p, "ForceDelete") != "true":
        return _asg._error("ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group.")
    if asg:
        asg["DesiredCapacity"] = 0
        reconcile(asg)
    return original(p)


def terminate(p):
    """TerminateInstanceInAutoScalingGroup"""
    instance = _asg._p(p, "InstanceId")
    for asg in _asg._asgs.values():
        if instance in [i["InstanceId"] for i in asg["Instances"]]:
            remove(asg, [instance])
            if _asg._p(p, "ShouldDecrementDesiredCapacity") == "true":
                asg["DesiredCapacity"] -= 1
            reconcile(asg)
            return _asg._xml(200, "TerminateInstanceInAutoScalingGroupResponse", "<TerminateInstanceInAutoScalingGroupResult/>")
    return _asg._error("ValidationError", f"Instance Id not found - No managed instance found for instance ID: {instance}")


def refresh(p, original=_asg._start_instance_refresh):
    """All are new when the answer comes; DescribeInstanceRefreshes says Successful."""
    asg = _asg._asgs.get(_asg._p(p, "AutoScalingGroupName"))
    if asg:
        for one in list(asg["Instances"]):
            add(asg, one["AvailabilityZone"])
            remove(asg, [one["InstanceId"]])
    return original(p)


def install():
    handler = provisioners._RESOURCE_HANDLERS[KIND]
    handler |= {"create": create, "update": update, "delete": delete}
    # A group with another name is made and ended by its update.
    provisioners._asg_create, provisioners._asg_delete = create, delete
    _asg._reconcile_instances = reconcile
    _asg._ACTION_MAP |= {
        "DescribeAutoScalingGroups": describe_groups, "DescribeAutoScalingInstances": describe_instances,
        "DeleteAutoScalingGroup": delete_group, "TerminateInstanceInAutoScalingGroup": terminate, "StartInstanceRefresh": refresh,
    }
