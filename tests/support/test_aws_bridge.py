"""The bridge does what it says, seen through boto3: stacks of ministack with instances of moto, and the orders of its control.

Run by tests/aws_proxy.rs, with AWS_ENDPOINT_URL naming the proxy.
"""

import functools
import http.server
import json
import threading
import time
import unittest
import urllib.error
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from test_aws_proxy import ENDPOINT, REGION, control

PROGRESS = "IN_PROGRESS"


@functools.cache
def client(service):
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, signature_version="s3v4" if service == "s3" else None)
    return boto3.client(
        service, endpoint_url=ENDPOINT, region_name=REGION, aws_access_key_id="lab", aws_secret_access_key="none", config=config
    )


def group(policy=True, **more):
    template = {"LaunchTemplateId": {"Ref": "Template"}, "Version": {"Fn::GetAtt": ["Template", "LatestVersionNumber"]}}
    tags = [{"Key": "Group", "Value": "web", "PropagateAtLaunch": True}, {"Key": "Own", "Value": "1", "PropagateAtLaunch": False}]
    properties = {"MinSize": {"Ref": "Min"}, "MaxSize": "4", "AvailabilityZones": [REGION + "a", REGION + "b"], "LaunchTemplate": template, "Tags": tags}
    update = {"UpdatePolicy": {"AutoScalingRollingUpdate": {"MaxBatchSize": 1}}} if policy else {}
    return {"Type": "AWS::AutoScaling::AutoScalingGroup", **update, "Properties": properties | more}


def template(**more):
    """A launch template and a group of two; further resources, or others."""
    data = {"ImageId": {"Ref": "Image"}, "InstanceType": "t3.small", "UserData": "aGVsbG8="}
    resources = {"Template": {"Type": "AWS::EC2::LaunchTemplate", "Properties": {"LaunchTemplateData": data}}, "Group": group()}
    parameters = {"Image": {"Type": "AWS::EC2::Image::Id"}, "Min": {"Type": "Number", "Default": 2}}
    return {"Parameters": parameters, "Resources": {k: v for k, v in (resources | more).items() if v}}


def topics(*names):
    return {"Resources": {n: {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": n}} for n in names}}


class Case(unittest.TestCase):
    def setUp(self):
        control("reset", {})
        self.ec2, self.stacks, self.scaling = client("ec2"), client("cloudformation"), client("autoscaling")
        self.image, self.other = self.images()

    @staticmethod
    @functools.cache
    def images():
        found = client("ec2").describe_images(Filters=[{"Name": "name", "Values": ["*ubuntu*", "amzn2-ami-hvm*"]}])["Images"]
        return found[0]["ImageId"], found[1]["ImageId"]

    def refused(self, code, call, *args, **more):
        with self.assertRaises(ClientError) as caught:
            call(*args, **more)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)
        return caught.exception.response["Error"]["Message"]

    def change_set(self, body, kind="CREATE", name="s", **parameters):
        given = [{"ParameterKey": k, "ParameterValue": str(v)} for k, v in parameters.items()]
        where = {"TemplateURL": body} if isinstance(body, str) else {"TemplateBody": json.dumps(body)}
        made = self.stacks.create_change_set(
            StackName=name, ChangeSetName=f"c{time.monotonic_ns()}", ChangeSetType=kind, Parameters=given, Capabilities=["CAPABILITY_NAMED_IAM"],
            Tags=[{"Key": "Env", "Value": "staging"}], **where,
        )
        return self.stacks.describe_change_set(ChangeSetName=made["Id"])

    def apply(self, body, kind="CREATE", name="s", **parameters):
        self.stacks.execute_change_set(ChangeSetName=self.change_set(body, kind, name, **parameters)["ChangeSetId"])
        return self.settled(name)

    def settled(self, name="s"):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            stack = self.stacks.describe_stacks(StackName=name)["Stacks"][0]
            if not stack["StackStatus"].endswith(PROGRESS):
                return stack["StackStatus"]
            time.sleep(0.02)
        self.fail(f"{name} is still {stack['StackStatus']}")

    def delete(self, name="s", **more):
        key = self.stacks.describe_stacks(StackName=name)["Stacks"][0]["StackId"]
        self.stacks.delete_stack(StackName=name, **more)
        return self.settled(key)

    def instances(self, name="s"):
        found = self.ec2.describe_instances(Filters=[
            {"Name": "tag:aws:cloudformation:stack-name", "Values": [name]}, {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ])
        return {i["InstanceId"]: i for r in found["Reservations"] for i in r["Instances"]}

    def events(self, name="s"):
        found = self.stacks.describe_stack_events(StackName=name)["StackEvents"]
        return [(e["LogicalResourceId"], e["ResourceStatus"], e.get("ResourceStatusReason", "")) for e in reversed(found)]

    def left(self):
        return sorted({r["kind"] for r in control(f"resources?region={REGION}")})


class Groups(Case):
    def test_instances_are_in_moto_as_the_template_says(self):
        self.assertEqual(self.apply(template(), Image=self.image), "CREATE_COMPLETE")
        found = self.instances()
        self.assertEqual(sorted(i["Placement"]["AvailabilityZone"] for i in found.values()), [REGION + "a", REGION + "b"])
        for key, one in found.items():
            tags = {t["Key"]: t["Value"] for t in one["Tags"]}
            self.assertEqual((one["ImageId"], one["InstanceType"], tags["Group"], tags["Env"]), (self.image, "t3.small", "web", "staging"))
            self.assertEqual(tags["aws:cloudformation:logical-id"], "Group")
            self.assertNotIn("Own", tags)
            data = self.ec2.describe_instance_attribute(InstanceId=key, Attribute="userData")["UserData"]["Value"]
            self.assertEqual(data, "aGVsbG8=")
        asg = self.scaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]
        self.assertEqual({i["InstanceId"]: (i["LifecycleState"], i["HealthStatus"], i["LaunchTemplate"]["Version"]) for i in asg["Instances"]},
                         dict.fromkeys(found, ("InService", "Healthy", "1")))
        self.assertEqual({i["InstanceId"] for i in self.scaling.describe_auto_scaling_instances()["AutoScalingInstances"]}, set(found))
        self.assertEqual(self.delete(), "DELETE_COMPLETE")
        self.assertEqual((self.instances(), self.left()), ({}, []))

    def test_a_new_version_replaces_only_under_a_policy(self):
        for policy in (True, False):
            name = f"s{policy}"
            self.apply(template(Group=group(policy)), name=name, Image=self.image)
            before = self.instances(name)
            self.assertEqual(self.apply(template(Group=group(policy)), "UPDATE", name, Image=self.other), "UPDATE_COMPLETE")
            after = self.instances(name)
            self.assertEqual({i["ImageId"] for i in after.values()}, {self.other if policy else self.image})
            self.assertEqual(len(after), 2)
            self.assertEqual(not set(before) & set(after), policy)
        reasons = " ".join(r for _, _, r in self.events("sTrue"))
        self.assertIn("Rolling update initiated. Terminating 2 obsolete instance(s)", reasons)

    def test_a_new_image_is_no_replacement_and_a_new_name_is(self):
        self.apply(template(), Image=self.image)
        changes = {c["ResourceChange"]["LogicalResourceId"]: c["ResourceChange"]["Replacement"] for c in self.change_set(template(), "UPDATE", Image=self.other)["Changes"]}
        self.assertEqual(changes, {"Group": "False", "Template": "False"})
        named = template(Group=group(AutoScalingGroupName="web"))
        changes = {c["ResourceChange"]["LogicalResourceId"]: c["ResourceChange"]["Replacement"] for c in self.change_set(named, "UPDATE", Image=self.image)["Changes"]}
        self.assertEqual(changes, {"Group": "True"})
        before = self.instances()
        self.assertEqual(self.apply(named, "UPDATE", Image=self.image), "UPDATE_COMPLETE")
        self.assertEqual((len(self.instances()), set(before) & set(self.instances())), (2, set()))

    def test_a_refresh_replaces(self):
        self.apply(template(Group=group(False)), Image=self.image)
        name = self.scaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]["AutoScalingGroupName"]
        before = self.instances()
        key = self.scaling.start_instance_refresh(AutoScalingGroupName=name)["InstanceRefreshId"]
        self.assertFalse(set(before) & set(self.instances()))
        found = self.scaling.describe_instance_refreshes(AutoScalingGroupName=name)["InstanceRefreshes"]
        self.assertEqual([(r["InstanceRefreshId"], r["Status"]) for r in found], [(key, "Successful")])

    def test_scaling_and_healing(self):
        self.apply(template(), Image=self.image)
        self.assertEqual(self.apply(template(), "UPDATE", Image=self.image, Min=3), "UPDATE_COMPLETE")
        found = self.instances()
        self.assertEqual(len(found), 3)
        ended = next(iter(found))
        self.ec2.terminate_instances(InstanceIds=[ended])
        self.scaling.describe_auto_scaling_groups()
        self.assertEqual((len(self.instances()), ended in self.instances()), (3, False))
        name = self.scaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]["AutoScalingGroupName"]
        self.scaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=4)
        self.assertEqual(len(self.instances()), 4)
        # What somebody set stays, within the group's size.
        self.apply(template(), "UPDATE", Image=self.image, Min=1)
        self.assertEqual(len(self.instances()), 4)
        self.scaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=1)
        self.assertEqual(len(self.instances()), 1)

    def test_an_image_that_is_not_there_rolls_back(self):
        self.assertEqual(self.apply(template(), Image="ami-00000000000000000"), "ROLLBACK_COMPLETE")
        failed = [e for e in self.events() if e[1] == "CREATE_FAILED"]
        self.assertEqual(failed[0][0], "Group")
        self.assertIn("The image id '[ami-00000000000000000]' does not exist (Service: Ec2", failed[0][2])
        self.delete()
        self.assertEqual(self.left(), [])

    def test_an_instance_in_a_template(self):
        one = {"Type": "AWS::EC2::Instance", "Properties": {"ImageId": {"Ref": "Image"}, "InstanceType": "t3.small", "Tags": [{"Key": "Group", "Value": "db"}]}}
        body = template(One=one, Group=None, Template=None) | {"Outputs": {"Ip": {"Value": {"Fn::GetAtt": ["One", "PrivateIp"]}}}}
        self.apply(body, Image=self.image)
        key, found = next(iter(self.instances().items()))
        output = self.stacks.describe_stacks(StackName="s")["Stacks"][0]["Outputs"][0]["OutputValue"]
        self.assertEqual(output, found["PrivateIpAddress"])
        one["Properties"]["InstanceType"] = "t3.large"
        changes = self.change_set(body, "UPDATE", Image=self.image)["Changes"]
        self.assertEqual(changes[0]["ResourceChange"]["Replacement"], "Conditional")
        self.apply(body, "UPDATE", Image=self.image)
        self.assertEqual({k: i["InstanceType"] for k, i in self.instances().items()}, {key: "t3.large"})
        self.assertEqual(self.change_set(body, "UPDATE", Image=self.other)["Changes"][0]["ResourceChange"]["Replacement"], "True")
        self.apply(body, "UPDATE", Image=self.other)
        self.assertEqual([i["ImageId"] for i in self.instances().values()], [self.other])
        self.assertNotIn(key, self.instances())
        self.delete()
        self.assertEqual(self.left(), [])

    def test_launch_templates_and_tags_of_both(self):
        self.apply(template(), Image=self.image)
        self.ec2.create_launch_template(LaunchTemplateName="mine", LaunchTemplateData={"ImageId": self.other, "InstanceType": "t3.small"})
        names = {t["LaunchTemplateName"]: t["LaunchTemplateId"] for t in self.ec2.describe_launch_templates()["LaunchTemplates"]}
        self.assertEqual(len(names), 2)
        for key in names.values():
            self.assertEqual(len(self.ec2.describe_launch_template_versions(LaunchTemplateId=key)["LaunchTemplateVersions"]), 1)
        of_image = self.ec2.describe_launch_template_versions(Versions=["$Latest"], Filters=[{"Name": "image-id", "Values": [self.image]}])
        self.assertEqual([v["LaunchTemplateData"]["ImageId"] for v in of_image["LaunchTemplateVersions"]], [self.image])
        used = self.ec2.describe_image_references(ImageIds=[self.image])["ImageReferences"]
        self.assertEqual(sorted(u["ResourceType"] for u in used), ["ec2:Instance", "ec2:Instance", "ec2:LaunchTemplate"])
        tagged = client("resourcegroupstaggingapi").get_resources(TagFilters=[{"Key": "Env", "Values": ["staging"]}])
        kinds = sorted(r["ResourceARN"].split(":", 5)[5].split("/")[0] for r in tagged["ResourceTagMappingList"])
        self.assertEqual(kinds, ["instance", "instance", "stack"])


    def test_what_a_stack_leaves_is_found_by_its_tags(self):
        network = {"Type": "AWS::EC2::VPC", "DeletionPolicy": "Retain", "Properties": {"CidrBlock": "10.0.0.0/16"}}
        self.apply({"Resources": {"Network": network, "Gone": network | {"DeletionPolicy": "Delete"}}})
        self.delete()
        found = client("resourcegroupstaggingapi").get_resources(TagFilters=[{"Key": "Env", "Values": ["staging"]}])["ResourceTagMappingList"]
        kept = [r["ResourceARN"].split("/")[-1] for r in found]
        tags = self.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": kept + ["vpc-0"]}])["Tags"]
        self.assertEqual({t["ResourceId"] for t in tags if t["Key"] == "Env"}, set(kept))
        self.assertEqual(([r["id"] for r in control(f"resources?region={REGION}")], len(kept)), (kept, 1))


class Buckets(Case):
    def test_a_template_comes_from_a_bucket(self):
        s3 = client("s3")
        s3.create_bucket(Bucket="templates", CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket="templates", Key="a/t.json", Body=json.dumps(topics("A")).encode())
        self.assertEqual(s3.head_object(Bucket="templates", Key="a/t.json")["ContentLength"], len(json.dumps(topics("A"))))
        url = s3.generate_presigned_url("get_object", Params={"Bucket": "templates", "Key": "a/t.json"})
        with urllib.request.urlopen(url) as reply:
            self.assertEqual(json.load(reply), topics("A"))
        for n, url in enumerate(["https://templates.s3.eu-central-1.amazonaws.com/a/t.json", f"{ENDPOINT}/templates/a/t.json"]):
            self.assertEqual(self.apply(url, name=f"s{n}"), "CREATE_COMPLETE")
        self.assertEqual([c["action"] for c in control("calls") if c["service"] == "s3"], ["CreateBucket", "PutObject", "HeadObject", "GetObject"])
        self.assertEqual([c["mutating"] for c in control("calls") if c["service"] == "s3"], [True, True, False, False])
        self.assertEqual(self.left(), ["bucket", "stack", "topic"])


    def test_nested_stacks_have_change_sets(self):
        s3 = client("s3")
        s3.create_bucket(Bucket="templates", CreateBucketConfiguration={"LocationConstraint": REGION})
        for n, names in enumerate(("A", "AB")):
            s3.put_object(Bucket="templates", Key=f"{n}.json", Body=json.dumps(topics(*names)).encode())

        def parent(n):
            inner = {"Type": "AWS::CloudFormation::Stack", "Properties": {"TemplateURL": f"https://templates.s3.eu-central-1.amazonaws.com/{n}.json"}}
            secret = {"Secret": {"Type": "String", "NoEcho": True, "Default": "not to be seen"}}
            return {"Parameters": secret, "Resources": {"Data": inner}}

        self.assertEqual(self.apply(parent(0)), "CREATE_COMPLETE")
        keys = [self.stacks.create_change_set(StackName="s", ChangeSetName=f"n{n}", TemplateBody=json.dumps(parent(1)), IncludeNestedStacks=True)["Id"] for n in range(2)]
        shown = self.stacks.describe_change_set(ChangeSetName=keys[0])
        self.assertEqual(shown["Parameters"][0]["ParameterValue"], "****")
        change = shown["Changes"][0]["ResourceChange"]
        self.assertEqual((change["LogicalResourceId"], change["Replacement"]), ("Data", "False"))
        nested = self.stacks.describe_change_set(ChangeSetName=change["ChangeSetId"])
        self.assertEqual((nested["ParentChangeSetId"], nested["RootChangeSetId"]), (keys[0], keys[0]))
        self.assertEqual([(c["ResourceChange"]["Action"], c["ResourceChange"]["LogicalResourceId"]) for c in nested["Changes"]], [("Add", "B")])
        self.stacks.delete_change_set(ChangeSetName=keys[0])
        self.refused("ChangeSetNotFound", self.stacks.describe_change_set, ChangeSetName=change["ChangeSetId"])
        self.assertEqual(len(self.stacks.list_change_sets(StackName=nested["StackName"])["Summaries"]), 1)
        self.stacks.execute_change_set(ChangeSetName=keys[1])
        self.assertEqual(self.settled(), "UPDATE_COMPLETE")
        self.assertEqual(self.stacks.list_change_sets(StackName=nested["StackName"])["Summaries"], [])
        self.assertEqual(self.settled(nested["StackName"]), "UPDATE_COMPLETE")


class Faults(Case):
    def test_each_fault_in_the_form_of_its_service(self):
        for rule, code in (("throttle", "Throttling"), ("expired", "ExpiredToken"), ("deny", "AccessDenied")):
            control("script", [{"do": rule, "service": "cloudformation", "action": ["ListStacks"]}])
            message = self.refused(code, self.stacks.list_stacks)
            self.assertIn({"throttle": "Rate exceeded", "expired": "expired", "deny": "cloudformation:ListStacks"}[rule], message)
            self.stacks.list_exports()
            control("script", [{"do": rule}])
            for call in (self.scaling.describe_auto_scaling_groups, client("s3").list_buckets, client("resourcegroupstaggingapi").get_resources):
                self.refused(code, call)
        self.refused("UnauthorizedOperation", self.ec2.describe_vpcs)
        control("script", [{"do": "expired"}])
        self.refused("RequestExpired", self.ec2.describe_vpcs)

    def test_a_lost_and_a_dropped_answer(self):
        for do, there in (("lose", 1), ("drop", 0)):
            control("script", [{"do": do, "action": "CreateStack", "first": 1}])
            with self.assertRaises(ConnectionClosedError):
                self.stacks.create_stack(StackName=do, TemplateBody=json.dumps(topics("A")))
            self.assertEqual(len([s for s in self.stacks.list_stacks()["StackSummaries"] if s["StackName"] == do]), there)

    def test_what_is_new_is_not_seen_at_once(self):
        control("script", [{"do": "hide", "action": "CreateChangeSet", "describes": 2}])
        made = self.stacks.create_change_set(StackName="s", ChangeSetName="c", ChangeSetType="CREATE", TemplateBody=json.dumps(topics("A")))
        for _ in range(2):
            self.assertIn("does not exist", self.refused("ChangeSetNotFound", self.stacks.describe_change_set, ChangeSetName=made["Id"]))
            self.assertIn("does not exist", self.refused("ValidationError", self.stacks.describe_stacks, StackName="s"))
        self.stacks.describe_change_set(ChangeSetName=made["Id"])
        self.assertEqual(self.stacks.describe_stacks(StackName="s")["Stacks"][0]["StackStatus"], "REVIEW_IN_PROGRESS")

    def test_their_changes_count_and_are_held(self):
        for when, there in (("before", 1), ("after", 2)):
            control("reset", {})
            control("stop", {"call": 2, "when": when})

            def create():
                for name in ("one", "two", "three"):
                    try:
                        client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(topics("A")))
                    except ConnectionClosedError:
                        return

            thread = threading.Thread(target=create)
            thread.start()
            held = control("stopped?wait=30")
            self.assertEqual((held["call"]["action"], held["call"]["params"]["StackName"]), ("CreateStack", "two"))
            control("release", {})
            thread.join()
            self.assertEqual(len(self.stacks.list_stacks()["StackSummaries"]), there)

    def test_what_is_no_order_is_refused(self):
        for path, order in (("resource", [{"fial": "x"}]), ("change", [{"Replace": 1}]), ("status", {"stack": "none", "status": "X"}),
                            ("targets", [{"healthy": 1}]), ("drift", [{"status": "GONE"}]), ("script", [{"do": "hide", "servce": "s3"}])):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                control(path + "?region=" + REGION, order)
            self.assertEqual(caught.exception.code, 400)
            caught.exception.close()


class Stacks(Case):
    def order(self, path, order):
        control(f"{path}?region={REGION}", order)

    def test_change_sets_show_what_is_ordered(self):
        self.apply(topics("A", "B"))
        self.order("change", [
            {"logical": "A", "Replacement": "Conditional", "PolicyAction": "ReplaceAndDelete", "Scope": ["Properties"]},
            {"logical": "B", "Action": "Dynamic", "Replacement": "True"},
        ])
        body = topics("A", "B")
        body["Resources"]["A"]["Properties"]["DisplayName"] = "other"
        changes = {c["ResourceChange"]["LogicalResourceId"]: c["ResourceChange"] for c in self.change_set(body, "UPDATE")["Changes"]}
        self.assertEqual((changes["A"]["Replacement"], changes["A"]["PolicyAction"]), ("Conditional", "ReplaceAndDelete"))
        self.assertEqual((changes["B"]["Action"], changes["B"]["Replacement"]), ("Dynamic", "True"))

    def test_failures_lead_to_each_failed_status(self):
        self.order("resource", [{"logical": "B", "on": "create", "fail": "no B today"}])
        self.assertEqual(self.apply(topics("A", "B"), name="rolled-back"), "ROLLBACK_COMPLETE")
        self.assertIn(("B", "CREATE_FAILED", "no B today"), self.events("rolled-back"))
        self.stacks.create_stack(StackName="kept", TemplateBody=json.dumps(topics("A", "B")), OnFailure="DO_NOTHING")
        self.assertEqual(self.settled("kept"), "CREATE_FAILED")
        self.stacks.rollback_stack(StackName="kept")
        self.assertEqual(self.settled("kept"), "ROLLBACK_COMPLETE")
        self.order("resource", [{"logical": "B", "on": "create", "fail": "no B today"}, {"logical": "A", "on": "delete", "fail": "A stays"}])
        self.assertEqual(self.apply(topics("A", "B"), name="stuck"), "ROLLBACK_FAILED")
        self.order("resource", [])
        self.apply(topics("A", "B"))
        body = topics("A", "B")
        for one in body["Resources"].values():
            one["Properties"]["DisplayName"] += " new"
        self.order("resource", [{"logical": "B", "on": "update", "fail": "no"}])
        self.assertEqual(self.apply(body, "UPDATE"), "UPDATE_ROLLBACK_COMPLETE")
        # A is updated well, and then does not go back.
        self.order("resource", [{"logical": "B", "on": "update", "fail": "no"}, {"logical": "A", "on": "update", "after": 1, "fail": "A does not go back"}])
        self.assertEqual(self.apply(body, "UPDATE"), "UPDATE_ROLLBACK_FAILED")
        self.stacks.continue_update_rollback(StackName="s")
        self.assertEqual(self.settled(), "UPDATE_ROLLBACK_FAILED")
        self.stacks.continue_update_rollback(StackName="s", ResourcesToSkip=["A"])
        self.assertEqual(self.settled(), "UPDATE_ROLLBACK_COMPLETE")
        self.order("resource", [{"logical": "A", "on": "delete", "fail": "A is in use"}])
        self.assertEqual(self.delete(), "DELETE_FAILED")
        self.assertEqual(self.delete(RetainResources=["A"]), "DELETE_COMPLETE")

    def test_events_as_cloudformation_has_them(self):
        self.order("resource", [{"logical": "B", "on": "create", "fail": "no B today", "cancels": ["C"]}])
        self.assertEqual(self.apply(topics("A", "B", "C")), "ROLLBACK_COMPLETE")
        events = self.events()
        self.assertIn(("A", "CREATE_IN_PROGRESS", "Resource creation Initiated"), events)
        failed = [e for e in events if e[1] == "CREATE_FAILED"]
        self.assertEqual(failed, [("B", "CREATE_FAILED", "no B today"), ("C", "CREATE_FAILED", "Resource creation cancelled")])
        self.assertIn(("s", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [B, C]. Rollback requested by user."), events)
        self.delete()
        self.order("resource", [])
        self.apply(topics("A"))
        self.apply(topics("B"), "UPDATE")
        self.assertEqual([e[1] for e in self.events() if e[0] == "s"][-2:], ["UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_COMPLETE"])
        control("script", [{"do": "page", "action": "DescribeStackEvents", "most": 3}])
        pages = list(self.stacks.get_paginator("describe_stack_events").paginate(StackName="s"))
        self.assertEqual((len(pages) > 3, max(len(p["StackEvents"]) for p in pages)), (True, 3))
        self.assertEqual([e["EventId"] for p in pages for e in p["StackEvents"]],
                         [e["EventId"] for e in self.all_events()])

    def all_events(self):
        control("script", [])
        return self.stacks.describe_stack_events(StackName="s")["StackEvents"]

    def test_an_operation_takes_as_long_as_is_ordered(self):
        self.order("resource", [{"logical": "A", "wait": 1}])
        self.stacks.create_stack(StackName="s", TemplateBody=json.dumps(topics("A")))
        self.assertEqual(self.stacks.describe_stacks(StackName="s")["Stacks"][0]["StackStatus"], "CREATE_IN_PROGRESS")
        self.assertEqual(self.settled(), "CREATE_COMPLETE")

    def change_set_of(self, status):
        self.order("status", {"stack": "s", "status": status})
        return self.change_set(topics("A", "B"), "UPDATE")["ChangeSetId"]

    def test_each_of_the_23_statuses(self):
        self.apply(topics("A"))
        statuses = self.stacks.meta.service_model.shape_for("StackStatus").enum
        self.assertEqual(len(statuses), 23)
        for status in statuses:
            self.order("status", {"stack": "s", "status": status, "reason": "because"})
            key = self.stacks.list_stacks()["StackSummaries"][0]
            self.assertEqual((key["StackStatus"], key.get("StackStatusReason")), (status, "because"))
            stack = self.stacks.describe_stacks(StackName=key["StackId"])["Stacks"][0]
            self.assertEqual((stack["StackStatus"], stack["StackStatusReason"]), (status, "because"))
            self.assertEqual(self.events(key["StackId"])[-1], ("s", status, "because"))
        ready = self.change_set_of("CREATE_COMPLETE")
        self.order("status", {"stack": "s", "status": "ROLLBACK_FAILED"})
        for call in (lambda: self.change_set(topics("B"), "UPDATE"), lambda: self.stacks.execute_change_set(ChangeSetName=ready),
                     lambda: self.stacks.update_stack(StackName="s", TemplateBody=json.dumps(topics("B")))):
            self.assertIn("is in ROLLBACK_FAILED state and can not be updated", self.refused("ValidationError", call))
        self.refused("AlreadyExistsException", self.change_set, topics("B"))
        self.refused("ValidationError", self.stacks.delete_stack, StackName="s", RetainResources=["A"])
        self.order("status", {"stack": "s", "status": "UPDATE_ROLLBACK_IN_PROGRESS"})
        self.assertIn("cannot be deleted while in status", self.refused("ValidationError", self.stacks.delete_stack, StackName="s"))
        self.order("status", {"stack": "s", "status": "UPDATE_IN_PROGRESS", "describes": 2, "then": "UPDATE_COMPLETE"})
        seen = [self.stacks.describe_stacks(StackName="s")["Stacks"][0]["StackStatus"] for _ in range(3)]
        self.assertEqual(seen, ["UPDATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE"])
        self.assertEqual(self.delete(), "DELETE_COMPLETE")

    def test_drift_is_found_where_it_is_ordered(self):
        self.apply(template(), Image=self.image)
        difference = {"PropertyPath": "/MinSize", "ExpectedValue": "2", "ActualValue": "3", "DifferenceType": "NOT_EQUAL"}
        self.order("drift", [{"describes": 2}, {"logical": "Group", "status": "MODIFIED", "differences": [difference]}])
        key = self.stacks.detect_stack_drift(StackName="s")["StackDriftDetectionId"]
        found = [self.stacks.describe_stack_drift_detection_status(StackDriftDetectionId=key) for _ in range(3)]
        self.assertEqual([f["DetectionStatus"] for f in found], ["DETECTION_IN_PROGRESS", "DETECTION_IN_PROGRESS", "DETECTION_COMPLETE"])
        self.assertEqual(found[2]["StackDriftStatus"], "DRIFTED")
        drifts = self.stacks.describe_stack_resource_drifts(StackName="s")["StackResourceDrifts"]
        self.assertEqual([(d["LogicalResourceId"], d["StackResourceDriftStatus"], d["PropertyDifferences"]) for d in drifts], [("Group", "MODIFIED", [difference])])
        states = {r["LogicalResourceId"]: r["DriftInformation"]["StackResourceDriftStatus"] for r in
                  self.stacks.list_stack_resources(StackName="s")["StackResourceSummaries"]}
        self.assertEqual(states, {"Group": "MODIFIED", "Template": "NOT_CHECKED"})


class Health(Case):
    def targets(self, order):
        control(f"targets?region={REGION}", order)

    def states(self):
        found = client("elbv2").describe_target_health(TargetGroupArn=self.arn)["TargetHealthDescriptions"]
        self.assertEqual({t["Target"]["Id"] for t in found}, set(self.instances()))
        return [(t["TargetHealth"]["State"], t["TargetHealth"].get("Reason")) for t in found]

    def setUp(self):
        super().setUp()
        targets = {"Type": "AWS::ElasticLoadBalancingV2::TargetGroup", "Properties": {
            "Port": 80, "Protocol": "HTTP", "VpcId": "vpc-1", "HealthCheckPath": "/well", "Matcher": {"HttpCode": "200-204"}}}
        self.apply(template(Targets=targets, Group=group(TargetGroupARNs=[{"Ref": "Targets"}])), Image=self.image)
        self.arn = self.stacks.describe_stack_resource(StackName="s", LogicalResourceId="Targets")["StackResourceDetail"]["PhysicalResourceId"]

    def test_initial_then_healthy_or_as_ordered(self):
        self.targets([{"initial": 2}])
        starting = [("initial", "Elb.RegistrationInProgress")] * 2
        self.assertEqual([self.states() for _ in range(3)], [starting, starting, [("healthy", None)] * 2])
        one = sorted(self.instances())[0]
        self.targets([{"target": one, "state": "unhealthy", "reason": "Target.ResponseCodeMismatch", "description": "500"}])
        self.assertEqual(sorted(s for s, _ in self.states()), ["healthy", "unhealthy"])
        asg = self.scaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]
        self.assertEqual(asg["TargetGroupARNs"], [self.arn])

    def test_a_real_request(self):
        class Head(http.server.BaseHTTPRequestHandler):
            status = 204

            def do_GET(self):
                self.send_response(self.status if self.path == "/well" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Head)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.targets([{"initial": 0}, {"target": "*", "url": f"http://127.0.0.1:{server.server_port}"}])
        self.assertEqual(self.states(), [("healthy", None)] * 2)
        Head.status = 500
        self.assertEqual(self.states(), [("unhealthy", "Target.ResponseCodeMismatch")] * 2)
        server.shutdown()
        server.server_close()
        self.assertEqual(self.states(), [("unhealthy", "Target.FailedHealthChecks")] * 2)


class Images(Case):
    def bake(self, name="web-abc", **more):
        one = self.ec2.run_instances(ImageId=self.image, MinCount=1, MaxCount=1, InstanceType="t3.small")["Instances"][0]["InstanceId"]
        tags = [{"ResourceType": kind, "Tags": [{"Key": "Role", "Value": kind}, {"Key": "App", "Value": "shop"}]} for kind in ("image", "snapshot")]
        return self.ec2.create_image(InstanceId=one, Name=name, TagSpecifications=tags, **more)["ImageId"]

    def state(self, image):
        return self.ec2.describe_images(ImageIds=[image])["Images"][0]["State"]

    def test_tags_of_image_and_snapshot(self):
        image = self.bake()
        mine = self.ec2.describe_images(Owners=["self"], Filters=[{"Name": "tag:Role", "Values": ["image"]}])["Images"]
        self.assertEqual([(i["ImageId"], i["State"]) for i in mine], [(image, "pending")])
        snapshots = self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        self.assertEqual([{t["Key"]: t["Value"] for t in s["Tags"]} for s in snapshots], [{"Role": "snapshot", "App": "shop"}])
        self.assertEqual(self.state(image), "available")

    def test_pending_failed_and_not_usable_meanwhile(self):
        control("script", [{"do": "slow_image", "describes": 2}])
        image = self.bake()
        self.refused("InvalidAMIID.Unavailable", self.ec2.run_instances, ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.small")
        of_state = self.ec2.describe_images(Owners=["self"], Filters=[{"Name": "state", "Values": ["available"]}])["Images"]
        self.assertEqual((of_state, [self.state(image) for _ in range(2)]), ([], ["pending", "available"]))
        control("script", [{"do": "image_fails", "code": "Client.VolumeLimitExceeded", "message": "no"}])
        image = self.bake("web-def")
        self.assertEqual([self.state(image) for _ in range(2)], ["pending", "failed"])
        self.assertEqual(self.ec2.describe_images(ImageIds=[image])["Images"][0]["StateReason"]["Message"], "no")

    def test_a_name_is_taken(self):
        image = self.bake()
        self.assertIn(image, self.refused("InvalidAMIName.Duplicate", self.bake))
        self.ec2.deregister_image(ImageId=image)
        self.bake()

    def test_snapshots_go_after_their_image(self):
        image = self.bake()
        snapshot = self.ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
        self.refused("InvalidSnapshot.InUse", self.ec2.delete_snapshot, SnapshotId=snapshot)
        self.assertTrue({"image", "snapshot"} <= set(self.left()))
        self.ec2.deregister_image(ImageId=image)
        self.ec2.delete_snapshot(SnapshotId=snapshot)
        self.assertFalse({"image", "snapshot"} & set(self.left()))
        self.ec2.deregister_image(ImageId=self.bake(), DeleteAssociatedSnapshots=True)
        self.assertFalse({"image", "snapshot"} & set(self.left()))


if __name__ == "__main__":
    unittest.main()
