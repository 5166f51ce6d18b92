"""The form of EC2's answers: XML, lists, errors."""

import json
import re
import time
import uuid
import xml.etree.ElementTree as ET

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
GONE = ("terminated",)

# Describe action: (path to its items, the tag of their id)
LISTS = {
    "DescribeInstances": ("reservationSet/item/instancesSet", "instanceId"),
    "DescribeInstanceStatus": ("instanceStatusSet", "instanceId"),
    "DescribeVolumes": ("volumeSet", "volumeId"),
    "DescribeKeyPairs": ("keySet", "keyName"),
    "DescribeSecurityGroups": ("securityGroupInfo", "groupId"),
    "DescribeSubnets": ("subnetSet", "subnetId"),
    "DescribeInternetGateways": ("internetGatewaySet", "internetGatewayId"),
    "DescribeVpcs": ("vpcSet", "vpcId"),
    "DescribeAddresses": ("addressesSet", "allocationId"),
    "DescribeRouteTables": ("routeTableSet", "routeTableId"),
    "DescribeNetworkInterfaces": ("networkInterfaceSet", "networkInterfaceId"),
    "DescribeImages": ("imagesSet", "imageId"),
    "DescribeSnapshots": ("snapshotSet", "snapshotId"),
    "DescribeTags": ("tagSet", "resourceId"),
}


class Refusal(Exception):
    """What the cloud says instead of doing it: status, code, message."""


class Late:
    """Something that is so for a number of Describe answers, or for a time."""

    def __init__(self, rule, default=1):
        self.until = time.time() + float(rule["seconds"]) if "seconds" in rule else None
        self.left = int(rule.get("describes", default)) if self.until is None else 0
        self.rule = rule

    def on(self):
        return time.time() < self.until if self.until is not None else self.left > 0

    def look(self):
        """Whether it is still so for this answer, which counts."""
        on = self.on()
        self.left -= 1
        return on


def parse(body):
    """The tree of an answer, its tags without the namespace."""
    root = ET.fromstring(body)
    for element in root.iter():
        element.tag = element.tag.rsplit("}", 1)[-1]
    return root


def text(root):
    root.set("xmlns", NAMESPACE)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root)


def put(element, tag, value):
    """Sets the text of a child, which may not be there yet."""
    child = element.find(tag)
    if child is None:
        child = ET.SubElement(element, tag)
    child.text = str(value)
    return child


def error(status, code, message, service="ec2", json_says=False):
    """(status, content type, body) in the form of https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html,
    of the other query services: https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/CommonErrors.html,
    of S3: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html,
    or of those that speak JSON: https://docs.aws.amazon.com/systems-manager/latest/APIReference/CommonErrors.html"""
    if json_says:
        return status, "application/x-amz-json-1.1", json.dumps({"__type": code, "message": message}).encode()
    if service == "s3":
        root = one = ET.Element("Error")
    else:
        root = ET.Element("Response" if service == "ec2" else "ErrorResponse")
        one = ET.SubElement(ET.SubElement(root, "Errors") if service == "ec2" else root, "Error")
    if service not in ("ec2", "s3"):
        put(one, "Type", "Sender" if status < 500 else "Receiver")
    put(one, "Code", code)
    put(one, "Message", message)
    put(root, "RequestID" if service == "ec2" else "RequestId", uuid.uuid4())
    return status, "text/xml;charset=UTF-8", b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root)


def error_code(body):
    found = re.search(rb"<Code>([^<]*)</Code>", body)
    return found.group(1).decode() if found else None


def values(params, name):
    """Name.1, Name.2, … of a request."""
    return [v for k, v in params.items() if re.fullmatch(re.escape(name) + r"\.\d+", k)]


def set_state(item, code, name):
    state = put(item, "instanceState", "")
    put(state, "code", code)
    put(state, "name", name)


def main_table(table):
    return any(a.findtext("main") == "true" for a in table.iterfind("associationSet/item"))
