"""The bridge between the two emulators, the proxy's half: which of them answers, and answers that are made of both.

EC2, SSM and STS are moto's, all other services ministack's (and what is changed by calls of IAM is changed in both). What CloudFormation makes in ministack's EC2 (networks, security
groups, launch templates) is in no answer of moto's, except launch templates: Describe calls show those of both. Tags are
asked for in both. What the bridge does inside ministack stands in bridge_main.py.
"""

import json
import re
import urllib.parse
import xml.etree.ElementTree as ET

from aws_answers import Late, error, error_code, parse, text, values
from aws_emulators import HOP, ask

MOTO = ("", "ec2", "ssm", "sts")
# What is handed on to bridge_control.py.
CONTROLS = ("resource", "change", "status", "drift", "targets")
BOTH = {
    "DescribeLaunchTemplates": "launchTemplates",
    "DescribeLaunchTemplateVersions": "launchTemplateVersionSet",
}
# An S3 request has no name of its own: method and what it is about tell it.
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
S3 = {
    ("GET", 0): "ListBuckets", ("PUT", 1): "CreateBucket", ("HEAD", 1): "HeadBucket", ("DELETE", 1): "DeleteBucket",
    ("GET", 1): "ListObjectsV2", ("PUT", 2): "PutObject", ("GET", 2): "GetObject", ("HEAD", 2): "HeadObject",
    ("DELETE", 2): "DeleteObject",
}


def s3_action(method, path):
    url = urllib.parse.urlsplit(path)
    depth = len([p for p in url.path.strip("/").split("/", 1) if p])
    sub = [k for k, v in urllib.parse.parse_qsl(url.query, keep_blank_values=True) if not v]
    return S3.get((method, depth), f"{method} {url.path}") if not sub else f"{method} ?{sub[0]}"


def name(of):
    """The name in the ARN of a stack or a change set, or as it is."""
    found = re.search(r":(?:stack|changeSet)/([^/]+)", of)
    return found.group(1) if found else of


class Bridge:
    def __init__(self, forward, ministack):
        self.forward, self.ministack, self.hidden = forward, ministack, {}

    def handles(self, call):
        return call.service not in MOTO or (call.action in BOTH and call.service == "ec2")

    def ask(self, call, most=None):
        """(status, headers, body) of ministack's answer. It checks the signature of a presigned request, which is the proxy's
        to anybody: asked as if it had been signed in the header."""
        url, headers = urllib.parse.urlsplit(call.path), dict(call.headers.items())
        query = urllib.parse.parse_qsl(url.query, keep_blank_values=True)
        signed = dict(query).get("X-Amz-Credential")
        path = call.path
        if signed:
            left = [(k, v) for k, v in query if not k.startswith("X-Amz-")]
            path = urllib.parse.urlunsplit(url._replace(query=urllib.parse.urlencode(left)))
            headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={signed}, SignedHeaders=host, Signature=none"
        if most:
            headers["X-Opsrun-Most"] = str(most)
        return ask(self.ministack.started(), call.method, path, headers, call.body)

    def answer(self, call, effects):
        """(status, headers, body, what was done)"""
        unseen = self.still_hidden(call) if call.service == "cloudformation" else None
        if unseen:
            status, kind, body = error(*unseen, call.service)
            return status, {"Content-Type": kind}, body, "not visible yet"
        if call.action in BOTH:
            return self.of_both(call)
        if call.service == "tagging" and call.action == "GetResources":
            return self.tagged(call)
        # https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStackEvents.html: a token for the rest
        status, headers, body = self.ask(call, effects.page and effects.page["most"])
        if status >= 500:
            # An SDK repeats these: the test should see them at once.
            return 501, {"Content-Type": headers.get("Content-Type", "text/plain")}, body, f"ministack failed: {status}"
        if status == 200 and call.service == "iam" and call.mutating:
            # So that a launch in moto finds the instance profiles.
            self.forward(call)
        if status == 200 and effects.hide and call.action in ("CreateStack", "CreateChangeSet"):
            new_stack = call.action == "CreateStack" or call.params.get("ChangeSetType") == "CREATE"
            made = ["StackName"] * new_stack + ["ChangeSetName"]
            self.hidden |= {name(call.params[k]): Late(effects.hide) for k in made if k in call.params}
        # The length that an answer to HEAD tells is not its own.
        own = (HOP | {"date", "server"}) - ({"content-length"} if call.method == "HEAD" else set())
        return status, {k: v for k, v in headers.items() if k.lower() not in own}, body, "forwarded to ministack"

    def still_hidden(self, call):
        """What is asked for and cannot be seen yet: an error, as of one that is not there."""
        for key, code, message in (
            ("ChangeSetName", "ChangeSetNotFound", "ChangeSet [{}] does not exist"),
            ("StackName", "ValidationError", "Stack with id {} does not exist"),
        ):
            late = self.hidden.get(name(call.params.get(key, "")))
            if late and not call.mutating and late.look():
                return 404 if key == "ChangeSetName" else 400, code, message.format(name(call.params[key]))
        return None

    def with_tags(self, call, body):
        """DescribeTags of moto, with the tags of what stacks made in ministack; of no filters but these, and in one page."""
        known = {"resource-id", "resource-type", "key", "value"}
        named = {v for k, v in call.params.items() if k.startswith("Filter.") and k.endswith(".Name")}
        if not self.ministack.running() or not named <= known or call.params.get("NextToken"):
            return body
        status, _, more = self.ask(call)
        root = parse(body)
        for item in parse(more).iterfind("tagSet/item") if status == 200 else []:
            root.find("tagSet").append(item)
        return text(root)

    def of_both(self, call):
        """Of an id or a name that only one of them knows, the other's error is no news."""
        if call.action == "DescribeLaunchTemplateVersions" and not {"LaunchTemplateId", "LaunchTemplateName"} & set(call.params):
            return self.of_all_templates(call)
        path = BOTH[call.action]
        answers = [self.ask(call), self.forward(call)]
        good = [body for status, _, body in answers if status == 200]
        if not good:
            status, headers, body = answers[0]
            return status, {"Content-Type": headers.get("Content-Type", "text/xml")}, body, f"refused: {error_code(body)}"
        root = parse(good[0])
        for other in good[1:]:
            for item in parse(other).iterfind(path + "/item"):
                root.find(path).append(item)
        return 200, {"Content-Type": "text/xml"}, text(root), "answered from both"

    def template_versions(self, call):
        """All versions of all launch templates, as elements; of ministack only if it runs."""
        found = []
        for where in (self.ask, self.forward) if self.ministack.running() else (self.forward,):
            status, _, body = where(call.with_params("DescribeLaunchTemplates", {}))
            ids = [i.text for i in parse(body).iterfind("launchTemplates/item/launchTemplateId")] if status == 200 else []
            for key in ids:
                status, _, body = where(call.with_params("DescribeLaunchTemplateVersions", {"LaunchTemplateId": key}))
                found += parse(body).findall("launchTemplateVersionSet/item") if status == 200 else []
        return found

    def of_all_templates(self, call):
        """Without a template, `$Latest` or `$Default` of every one; the filter image-id.
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeLaunchTemplateVersions.html"""
        wanted, found = values(call.params, "LaunchTemplateVersion"), self.template_versions(call)
        if not wanted or not set(wanted) <= {"$Latest", "$Default"}:
            status, kind, body = error(400, "MissingParameter", "When no launch template is specified, versions must be $Latest or $Default")
            return status, {"Content-Type": kind}, body, "refused"
        latest = {}
        for version in found:
            key, number = version.findtext("launchTemplateId"), int(version.findtext("versionNumber"))
            latest[key] = max(latest.get(key, 0), number)
        named = [k for k, v in call.params.items() if k.startswith("Filter.") and k.endswith(".Name") and v == "image-id"]
        images = values(call.params, named[0].removesuffix("Name") + "Value") if named else None
        root = ET.Element("DescribeLaunchTemplateVersionsResponse")
        items = ET.SubElement(root, "launchTemplateVersionSet")
        for version in found:
            is_latest = int(version.findtext("versionNumber")) == latest[version.findtext("launchTemplateId")]
            is_default = version.findtext("defaultVersion") == "true"
            asked = ("$Latest" in wanted and is_latest) or ("$Default" in wanted and is_default)
            if asked and (images is None or version.findtext("launchTemplateData/imageId") in images):
                items.append(version)
        return 200, {"Content-Type": "text/xml"}, text(root), "answered from both"

    def tagged(self, call):
        """All that has these tags, in one page.
        https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html"""
        order = json.loads(call.body or b"{}")
        found = {}
        for where in (self.ask, self.forward):
            token = ""
            while True:
                page = call.with_body(json.dumps(order | {"PaginationToken": token, "ResourcesPerPage": 100}).encode())
                status, headers, body = where(page)
                if status != 200:
                    return status, {"Content-Type": headers.get("Content-Type", "")}, body, "refused"
                answer = json.loads(body)
                found |= {r["ResourceARN"]: r for r in answer["ResourceTagMappingList"]}
                token = answer.get("PaginationToken") or ""
                if not token:
                    break
        body = json.dumps({"PaginationToken": "", "ResourceTagMappingList": list(found.values())}).encode()
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, body, "answered from both"
