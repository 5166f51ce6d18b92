"""What EC2 does with images and moto does not. Each rule cites the page of https://docs.aws.amazon.com it follows."""

import xml.etree.ElementTree as ET

from aws_answers import Late, Refusal, parse, put, text, values

OWNER = "123456789012"


def tag_specifications(params):
    """Kind -> tags of TagSpecification.N."""
    found = {}
    for key, kind in params.items():
        if key.startswith("TagSpecification.") and key.endswith(".ResourceType"):
            prefix = key.removesuffix("ResourceType") + "Tag."
            tags = {k.removeprefix(prefix): v for k, v in params.items() if k.startswith(prefix)}
            found[kind] = {v: tags.get(k.replace(".Key", ".Value"), "") for k, v in tags.items() if k.endswith(".Key")}
    return found


class Images:
    """Those that were made here: under way, or failed."""

    def __init__(self, cloud, templates):
        # `templates` gives the launch templates of both emulators, as elements of DescribeLaunchTemplateVersions.
        self.cloud, self.templates, self.making = cloud, templates, {}

    def refuse(self, call):
        """Raises where AWS would."""
        p = call.params
        if call.action in ("CreateImage", "RegisterImage"):
            # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (InvalidAMIName.Duplicate)
            mine = self.cloud.ask(call, "DescribeImages", Owner_1="self", Filter_1_Name="name", Filter_1_Value_1=p.get("Name", ""))
            taken = mine.findtext("imagesSet/item/imageId")
            if taken:
                raise Refusal(400, "InvalidAMIName.Duplicate", f"AMI name {p.get('Name')} is already in use by AMI {taken}")
        if call.action == "RunInstances":
            late = self.making.get(p.get("ImageId"))
            if late and (late.on() or late.rule.get("do") == "image_fails"):
                # Of the same page.
                raise Refusal(400, "InvalidAMIID.Unavailable", f"The image ID '{p['ImageId']}' is not available")

    def answer(self, call, effects):
        """(status, headers, body), or nothing if moto does it well enough."""
        if call.action == "CreateImage":
            return self.create(call, effects)
        if call.action == "DeregisterImage" and call.params.get("DeleteAssociatedSnapshots") == "true":
            return self.deregister(call)
        if call.action == "DescribeImageReferences":
            return 200, {}, self.references(call)
        return None

    def create(self, call, effects):
        """An image is pending for a while, and failed if it fails; both kinds of its tags are there from the start.
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html"""
        wanted = {k: v for k, v in call.params.items() if not k.startswith("TagSpecification.")}
        status, headers, body = self.cloud.forward(call.with_params(call.action, wanted))
        if status != 200:
            return status, headers, body
        image = parse(body).findtext("imageId")
        tags = tag_specifications(call.params)
        for kind, things in (("image", [image]), ("snapshot", self.snapshots(call, image))):
            if tags.get(kind):
                named = {f"ResourceId_{n}": t for n, t in enumerate(things, 1)}
                for n, (key, value) in enumerate(tags[kind].items(), 1):
                    named |= {f"Tag_{n}_Key": key, f"Tag_{n}_Value": value}
                self.cloud.ask(call, "CreateTags", **named)
        self.making[image] = Late(effects.image_fails or effects.slow_image or {"describes": 1})
        return status, headers, body

    def snapshots(self, call, image):
        found = self.cloud.ask(call, "DescribeImages", ImageId_1=image)
        return [s.text for s in found.iterfind("imagesSet/item/blockDeviceMapping/item/ebs/snapshotId") if s.text]

    def deregister(self, call):
        """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeregisterImage.html"""
        doomed = self.snapshots(call, call.params.get("ImageId", ""))
        status, headers, body = self.cloud.forward(call)
        if status != 200:
            return status, headers, body
        root = parse(body)
        results = ET.SubElement(root, "deleteSnapshotResultSet")
        for snapshot in doomed:
            self.cloud.ask(call, "DeleteSnapshot", SnapshotId=snapshot)
            result = ET.SubElement(results, "item")
            put(result, "snapshotId", snapshot)
            put(result, "returnCode", "success")
        return status, headers, text(root)

    def references(self, call):
        """Who uses these images: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeImageReferences.html"""
        root = ET.Element("DescribeImageReferencesResponse")
        found = ET.SubElement(root, "imageReferenceSet")

        def see(image, kind, word, key):
            item = ET.SubElement(found, "item")
            put(item, "imageId", image)
            put(item, "resourceType", kind)
            put(item, "arn", f"arn:aws:ec2:{call.region}:{OWNER}:{word}/{key}")

        wanted = values(call.params, "ImageId")
        for key, instance in self.cloud.instances(call).items():
            if instance.findtext("imageId") in wanted:
                see(instance.findtext("imageId"), "ec2:Instance", "instance", key)
        for version in self.templates(call):
            if version.findtext("launchTemplateData/imageId") in wanted:
                see(version.findtext("launchTemplateData/imageId"), "ec2:LaunchTemplate", "launch-template", version.findtext("launchTemplateId"))
        return text(root)

    def shown(self, call, body):
        """The body of a Describe answer, as AWS would have it."""
        if call.action == "DescribeImages" and self.making:
            return self.with_states(call, body)
        return body

    @staticmethod
    def with_owner(call):
        """moto shows everybody's snapshots to one who asks for his own.
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSnapshots.html"""
        if call.action != "DescribeSnapshots" or "self" not in values(call.params, "Owner"):
            return call
        params = {k: v for k, v in call.params.items() if not k.startswith("Owner.")}
        n = 1 + sum(k.endswith(".Name") for k in params)
        return call.with_params(call.action, {**params, f"Filter.{n}.Name": "owner-id", f"Filter.{n}.Value.1": OWNER})

    def with_states(self, call, body):
        root = parse(body)
        named = [k for k, v in call.params.items() if k.startswith("Filter.") and k.endswith(".Name") and v == "state"]
        states = values(call.params, named[0].removesuffix("Name") + "Value") if named else None
        for item in root.findall("imagesSet/item"):
            late = self.making.get(item.findtext("imageId"))
            if late is None:
                continue
            state = "pending" if late.look() else "failed" if late.rule.get("do") == "image_fails" else "available"
            put(item, "imageState", state)
            if state == "failed":
                reason = put(item, "stateReason", "")
                put(reason, "code", late.rule.get("code", "Client.InternalError"))
                put(reason, "message", late.rule.get("message", "Client.InternalError: Client error on launch"))
            if states is not None and state not in states:
                root.find("imagesSet").remove(item)
        return text(root)
