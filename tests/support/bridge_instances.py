"""Instances in moto for what CloudFormation and Auto Scaling run in ministack, and AWS::EC2::Instance for its templates.

The subnets and security groups of a stack exist in ministack only. So an instance of it stands in moto's default network, in the
zone of its subnet; its subnet, its security groups and its profile are not told to moto.
"""

import http.client
import os
import re
import urllib.parse
import uuid
import xml.etree.ElementTree as ET

from ministack.core.responses import get_region
from ministack.services import ec2 as _ec2
from ministack.services.cloudformation import provisioners

KIND = "AWS::EC2::Instance"
# https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ec2-instance.html
REPLACING = ("ImageId", "KeyName", "SubnetId", "AvailabilityZone", "PrivateIpAddress", "NetworkInterfaces", "LaunchTemplate")
CONDITIONAL = ("InstanceType", "UserData", "BlockDeviceMappings", "SecurityGroupIds", "EbsOptimized")


def ask(action, params):
    """The tree of moto's answer, by way of the proxy. Its refusal is told in CloudFormation's words."""
    body = urllib.parse.urlencode({"Action": action, "Version": "2016-11-15", **params})
    connection = http.client.HTTPConnection(os.environ["OPSRUN_PROXY"], timeout=60)
    try:
        connection.request("POST", f"/_bridge/ec2?region={get_region()}", body)
        reply = connection.getresponse()
        status, answer = reply.status, reply.read()
    finally:
        connection.close()
    if status != 200:
        said = re.search(rb"<Message>([^<]*)", answer)
        message = said.group(1).decode() if said else f"{action}: {status}"
        raise ValueError(
            f'Resource handler returned message: "{message} (Service: Ec2, Status Code: {status}, Request ID: {uuid.uuid4()})" '
            f"(RequestToken: {uuid.uuid4()}, HandlerErrorCode: {'NotFound' if b'NotFound' in answer else 'InvalidRequest'})"
        )
    root = ET.fromstring(answer)
    for element in root.iter():
        element.tag = element.tag.rsplit("}", 1)[-1]
    return root


def template_version(spec):
    """(number, data) of a launch template as a group or an instance names it; none if there is none."""
    named = (spec or {}).get("LaunchTemplateId"), (spec or {}).get("LaunchTemplateName")
    for template in _ec2._launch_templates.values():
        if template["LaunchTemplateId"] in named or template["LaunchTemplateName"] in named:
            number = str(spec.get("Version") or "$Default")
            number = {"$Default": template["DefaultVersionNumber"], "$Latest": template["LatestVersionNumber"]}.get(number, number)
            for version in template["Versions"]:
                if str(version["VersionNumber"]) == str(number):
                    return str(number), version["LaunchTemplateData"]
    return None, None


def tag_list(tags):
    return {t["Key"]: str(t.get("Value", "")) for t in tags or [] if isinstance(t, dict)}


def template_tags(data, kind):
    return {k: v for s in data.get("TagSpecifications") or [] if s.get("ResourceType") == kind for k, v in tag_list(s.get("Tags")).items()}


def launch(data, tags, zone=None):
    """The element of a new instance in moto. `data` is named as in a template or a launch template."""
    params = {"MinCount": 1, "MaxCount": 1}
    params |= {k: data[k] for k in ("ImageId", "InstanceType", "KeyName", "UserData", "PrivateIpAddress") if data.get(k)}
    for n, mapping in enumerate(data.get("BlockDeviceMappings") or [], 1):
        params[f"BlockDeviceMapping.{n}.DeviceName"] = mapping["DeviceName"]
        for name, value in (mapping.get("Ebs") or {}).items():
            params[f"BlockDeviceMapping.{n}.Ebs.{name}"] = str(value).lower() if isinstance(value, bool) else value
    if zone:
        params["Placement.AvailabilityZone"] = zone
    if (data.get("InstanceMarketOptions") or {}).get("MarketType"):
        params["InstanceMarketOptions.MarketType"] = data["InstanceMarketOptions"]["MarketType"]
    for n, (kind, of) in enumerate((("instance", tags), ("volume", template_tags(data, "volume"))), 1):
        if of:
            params[f"TagSpecification.{n}.ResourceType"] = kind
        for m, (key, value) in enumerate(of.items(), 1):
            params |= {f"TagSpecification.{n}.Tag.{m}.Key": key, f"TagSpecification.{n}.Tag.{m}.Value": value}
    return ask("RunInstances", params).find("instancesSet/item")


def end(instances):
    if instances:
        ask("TerminateInstances", {f"InstanceId.{n}": i for n, i in enumerate(instances, 1)})


def described(instances):
    """Id -> element of those that are there and not on their end."""
    if not instances:
        return {}
    params = {"Filter.1.Name": "instance-id"} | {f"Filter.1.Value.{n}": i for n, i in enumerate(instances, 1)}
    found = ask("DescribeInstances", params).iterfind("reservationSet/item/instancesSet/item")
    return {i.findtext("instanceId"): i for i in found if i.findtext("instanceState/name") not in ("terminated", "shutting-down")}


# --- AWS::EC2::Instance


def attributes(item):
    names = {"InstanceId": "instanceId", "PrivateIp": "privateIpAddress", "PublicIp": "ipAddress", "PrivateDnsName": "privateDnsName",
             "PublicDnsName": "dnsName", "AvailabilityZone": "placement/availabilityZone"}
    return {name: item.findtext(path) or "" for name, path in names.items()}


def create(logical_id, props, stack_name):
    data, tags = dict(props), tag_list(props.get("Tags"))
    number, of_template = template_version(props.get("LaunchTemplate"))
    if of_template:
        data, tags = {**of_template, **data}, template_tags(of_template, "instance") | tags
    subnet = _ec2._subnets.get(data.get("SubnetId") or "") or {}
    item = launch(data, tags, data.get("AvailabilityZone") or subnet.get("AvailabilityZone"))
    return item.findtext("instanceId"), attributes(item)


def update(instance, old, new, stack_name):
    """What needs no new instance: some of it needs a stop."""
    if old.get("InstanceType") != new.get("InstanceType") or old.get("UserData") != new.get("UserData"):
        ask("StopInstances", {"InstanceId.1": instance})
        if new.get("InstanceType"):
            ask("ModifyInstanceAttribute", {"InstanceId": instance, "InstanceType.Value": new["InstanceType"]})
        if new.get("UserData"):
            ask("ModifyInstanceAttribute", {"InstanceId": instance, "UserData.Value": new["UserData"]})
        ask("StartInstances", {"InstanceId.1": instance})
    tags, before = tag_list(new.get("Tags")), tag_list(old.get("Tags"))
    for action, of in (("DeleteTags", before.keys() - tags.keys()), ("CreateTags", tags)):
        params = {f"Tag.{n}.Key": k for n, k in enumerate(of, 1)}
        if action == "CreateTags":
            params |= {f"Tag.{n}.Value": v for n, v in enumerate(tags.values(), 1)}
        if params:
            ask(action, {"ResourceId.1": instance, **params})
    found = described([instance])
    if instance not in found:
        raise ValueError(f"Instance {instance} does not exist")
    return instance, attributes(found[instance])


def delete(instance, props):
    end(list(described([instance])))


def install():
    provisioners._RESOURCE_HANDLERS[KIND] = {"create": create, "update": update, "delete": delete}
    provisioners._REPLACING_PROPERTIES[KIND] = REPLACING
    provisioners._CONDITIONALLY_REPLACING_PROPERTIES[KIND] = CONDITIONAL
    provisioners._STACK_TAG_PROPERTY[KIND] = ("Tags", "list")
