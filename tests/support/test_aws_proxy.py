"""Each fault of the proxy really appears, seen through boto3; and what it should leave alone passes.

Run by tests/aws_proxy.rs, with AWS_ENDPOINT_URL naming the proxy.
"""

import base64
import json
import os
import threading
import unittest
import urllib.error
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
REGION = "eu-central-1"
KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHlt8IqM3Dd5PBrXUXiPi0yz7JjiW6mP5Yk3VYjzvRxw lab"


def client(retries=1, region=REGION, timeout=60):
    config = Config(retries={"total_max_attempts": retries, "mode": "standard"}, read_timeout=timeout)
    return boto3.client(
        "ec2", endpoint_url=ENDPOINT, region_name=region, aws_access_key_id="lab", aws_secret_access_key="none", config=config
    )


def control(path, order=None):
    body = json.dumps(order).encode() if order is not None else None
    with urllib.request.urlopen(urllib.request.Request(f"{ENDPOINT}/_proxy/{path}", body)) as reply:
        return json.load(reply)


EC2 = client()


class Case(unittest.TestCase):
    def setUp(self):
        control("reset", {})
        self.ec2 = EC2
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = {
            zone: self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=REGION + zone)["Subnet"]["SubnetId"]
            for n, zone in enumerate("ab")
        }
        self.image = self.ec2.describe_images(Filters=[{"Name": "name", "Values": ["*ubuntu*"]}])["Images"][0]["ImageId"]
        control("forget", {})

    def run_instances(self, count=1, zone="a", least=None, ec2=None, **more):
        more = {"ImageId": self.image, "InstanceType": "c7i.2xlarge", "SubnetId": self.subnets[zone]} | more
        return (ec2 or self.ec2).run_instances(MinCount=least or count, MaxCount=count, **more)["Instances"]

    def instances(self, **more):
        found = self.ec2.describe_instances(**more)["Reservations"]
        return [i for r in found for i in r["Instances"]]

    def refused(self, code, call, *args, **more):
        with self.assertRaises(ClientError) as caught:
            call(*args, **more)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)
        return caught.exception.response["Error"]["Message"]


class Tokens(Case):
    def test_the_same_token_gives_the_same_instances(self):
        first = self.run_instances(2, ClientToken="t")
        again = self.run_instances(2, ClientToken="t")
        self.assertEqual([i["InstanceId"] for i in first], [i["InstanceId"] for i in again])
        self.assertEqual([i["AmiLaunchIndex"] for i in again], [0, 1])
        self.assertEqual(len(self.instances()), 2)
        self.assertEqual(again[0]["State"]["Name"], "running")

    def test_other_parameters_are_a_mismatch(self):
        self.run_instances(2, ClientToken="t")
        self.refused("IdempotentParameterMismatch", self.run_instances, 3, ClientToken="t")
        self.refused("IdempotentParameterMismatch", self.run_instances, 2, ClientToken="t", InstanceType="c7i.large")

    def test_a_token_counts_per_zone_and_region(self):
        self.run_instances(ClientToken="t", SubnetId=self.subnets["a"])
        # Another subnet is another parameter, but the token is not known in that zone.
        self.run_instances(ClientToken="t", SubnetId=self.subnets["b"])
        self.assertEqual(len(self.instances()), 2)

    def test_without_a_token_nothing_is_idempotent(self):
        for _ in range(2):
            # boto3 adds a token of its own to each call.
            self.run_instances()
        self.assertEqual(len(self.instances()), 2)

    def test_two_at_once_launch_once(self):
        threads = [threading.Thread(target=self.run_instances, kwargs={"ClientToken": "t", "ec2": client()}) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(self.instances()), 1)

    def test_ended_instances_are_not_given_again(self):
        one = self.run_instances(ClientToken="t")[0]["InstanceId"]
        self.ec2.terminate_instances(InstanceIds=[one])
        self.refused("IdempotentInstanceTerminated", self.run_instances, ClientToken="t")

    def test_the_filter_client_token(self):
        one = self.run_instances(ClientToken="mine")[0]["InstanceId"]
        self.run_instances(ClientToken="other")
        found = self.instances(Filters=[{"Name": "client-token", "Values": ["mine"]}])
        self.assertEqual([i["InstanceId"] for i in found], [one])
        self.assertEqual(self.instances(Filters=[{"Name": "client-token", "Values": ["no"]}]), [])


class Capacity(Case):
    def test_zone_type_and_market(self):
        control("script", [
            {"do": "capacity", "zone": "*a", "type": "c7i.*", "market": "on-demand"},
            {"do": "capacity", "market": "spot"},
        ])
        message = self.refused("InsufficientInstanceCapacity", self.run_instances)
        self.assertIn(REGION + "a", message)
        self.run_instances(zone="b")
        self.run_instances(InstanceType="m5.large")
        self.refused("InsufficientInstanceCapacity", self.run_instances, zone="b", InstanceMarketOptions={"MarketType": "spot"})

    def test_what_is_available_is_used_up(self):
        control("script", [{"do": "capacity", "zone": "*a", "available": 3}])
        self.refused("InsufficientInstanceCapacity", self.run_instances, 4)
        self.run_instances(3)
        self.refused("InsufficientInstanceCapacity", self.run_instances, 1)

    def test_a_refused_launch_can_be_repeated_with_its_token(self):
        control("script", [{"do": "capacity", "first": 1}])
        self.refused("InsufficientInstanceCapacity", self.run_instances, ClientToken="t")
        self.run_instances(ClientToken="t")

    def test_all_that_were_asked_for_are_launched(self):
        self.assertEqual(len(self.run_instances(3, least=1)), 3)

    def test_quota(self):
        control("script", [{"do": "quota", "type": "c7i.*"}])
        self.refused("VcpuLimitExceeded", self.run_instances)
        self.refused("MaxSpotInstanceCountExceeded", self.run_instances, InstanceMarketOptions={"MarketType": "spot"})
        self.run_instances(InstanceType="m5.large")


class Faults(Case):
    def test_throttling_first_calls_and_every_kth(self):
        control("script", [{"do": "throttle", "action": "DescribeVpcs", "first": 2}, {"do": "throttle", "action": "DescribeSubnets", "every": 3}])
        for _ in range(2):
            self.refused("RequestLimitExceeded", self.ec2.describe_vpcs)
        self.ec2.describe_vpcs()
        self.ec2.describe_subnets()
        self.ec2.describe_subnets()
        self.refused("RequestLimitExceeded", self.ec2.describe_subnets)
        self.ec2.describe_subnets()

    def test_an_sdk_gets_over_throttling(self):
        control("script", [{"do": "throttle", "first": 2}])
        client(retries=3).describe_vpcs()
        self.assertEqual([c["error"] for c in control("calls")], ["RequestLimitExceeded"] * 2 + [None])

    def test_denied_even_as_a_dry_run(self):
        control("script", [{"do": "deny", "action": "CreateVpc"}])
        message = self.refused("UnauthorizedOperation", self.ec2.create_vpc, CidrBlock="10.1.0.0/16", DryRun=True)
        self.assertIn("ec2:CreateVpc", message)
        self.refused("DryRunOperation", self.ec2.create_subnet, VpcId=self.vpc, CidrBlock="10.0.9.0/24", DryRun=True)

    def test_a_dry_run_meets_no_capacity_error_and_is_no_change(self):
        control("script", [{"do": "capacity"}])
        self.refused("DryRunOperation", self.run_instances, DryRun=True)
        self.assertFalse(control("calls")[-1]["mutating"])

    def test_a_lost_answer_means_it_was_done(self):
        control("script", [{"do": "lose", "action": "CreateVpc"}])
        with self.assertRaises(ConnectionClosedError):
            self.ec2.create_vpc(CidrBlock="10.1.0.0/16")
        self.assertIn("10.1.0.0/16", [v["CidrBlock"] for v in self.ec2.describe_vpcs()["Vpcs"]])

    def test_a_lost_launch_is_repaired_by_its_token(self):
        control("script", [{"do": "lose", "action": "RunInstances", "first": 1}])
        self.run_instances(2, ClientToken="t", ec2=client(retries=2))
        self.assertEqual(len(self.instances()), 2)
        self.assertEqual(len([c for c in control("calls") if c["action"] == "RunInstances"]), 2)

    def test_a_dropped_call_was_not_done(self):
        control("script", [{"do": "drop", "action": "CreateVpc"}])
        with self.assertRaises(ConnectionClosedError):
            self.ec2.create_vpc(CidrBlock="10.1.0.0/16")
        self.assertNotIn("10.1.0.0/16", [v["CidrBlock"] for v in self.ec2.describe_vpcs()["Vpcs"]])

    def test_any_error_where_parameters_match(self):
        control("script", [{"do": "error", "code": "VpcLimitExceeded", "action": "Create*", "where": {"CidrBlock": "10.1.*"}}])
        self.refused("VpcLimitExceeded", self.ec2.create_vpc, CidrBlock="10.1.0.0/16")
        self.ec2.create_vpc(CidrBlock="10.2.0.0/16")

    def test_other_services_refuse_in_their_own_form(self):
        control("script", [{"do": "error", "code": "InvalidClientTokenId", "status": 403}])
        sts = boto3.client("sts", endpoint_url=ENDPOINT, region_name=REGION, aws_access_key_id="lab", aws_secret_access_key="none")
        self.refused("InvalidClientTokenId", sts.get_caller_identity)

    def test_a_region_that_does_not_exist(self):
        self.refused("AuthFailure", client(region="eu-nowhere-1").describe_vpcs)

    def test_a_rule_that_is_not_understood_is_refused(self):
        for rule in [{"do": "explode"}, {"do": "deny", "acton": "CreateVpc"}, {"do": "error"}]:
            with self.assertRaises(urllib.error.HTTPError) as caught:
                control("script", [rule])
            caught.exception.close()


class Visibility(Case):
    def test_a_new_vpc_is_not_shown_for_two_answers(self):
        control("script", [{"do": "hide", "action": "CreateVpc", "describes": 2}])
        vpc = self.ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        self.assertNotIn(vpc, [v["VpcId"] for v in self.ec2.describe_vpcs()["Vpcs"]])
        self.refused("InvalidVpcID.NotFound", self.ec2.describe_vpcs, VpcIds=[vpc])
        self.assertIn(vpc, [v["VpcId"] for v in self.ec2.describe_vpcs()["Vpcs"]])

    def test_what_is_not_shown_cannot_be_used(self):
        control("script", [{"do": "hide", "action": "CreateVpc"}])
        vpc = self.ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        self.refused("InvalidVpcID.NotFound", self.ec2.create_subnet, VpcId=vpc, CidrBlock="10.1.1.0/24")
        self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.1.0/24")

    def test_each_kind(self):
        control("script", [{"do": "hide"}])
        ec2 = self.ec2
        ec2.import_key_pair(KeyName="lab", PublicKeyMaterial=KEY)
        ec2.create_security_group(GroupName="g", Description="d", VpcId=self.vpc)
        ec2.create_internet_gateway()
        ec2.allocate_address(Domain="vpc")
        ec2.create_subnet(VpcId=self.vpc, CidrBlock="10.0.9.0/24", AvailabilityZone=REGION + "a")
        self.run_instances(2)
        def seen():
            return [
                len(ec2.describe_key_pairs()["KeyPairs"]),
                len(ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["g"]}])["SecurityGroups"]),
                len(ec2.describe_internet_gateways()["InternetGateways"]),
                len(ec2.describe_addresses()["Addresses"]),
                len(ec2.describe_subnets(Filters=[{"Name": "cidr-block", "Values": ["10.0.9.0/24"]}])["Subnets"]),
                len(self.instances()),
            ]
        self.assertEqual(seen(), [0, 0, 0, 0, 0, 0])
        self.assertEqual(seen(), [1, 1, 1, 1, 1, 2])

    def test_a_slow_start_and_a_slow_end(self):
        control("script", [{"do": "slow_start", "describes": 2}, {"do": "slow_end", "describes": 2}])
        one = self.run_instances()[0]["InstanceId"]
        states = [self.instances(InstanceIds=[one])[0]["State"]["Name"] for _ in range(3)]
        self.assertEqual(states, ["pending", "pending", "running"])
        self.ec2.terminate_instances(InstanceIds=[one])
        # While it ends, its subnet is in use.
        self.refused("DependencyViolation", self.ec2.delete_subnet, SubnetId=self.subnets["a"])
        states = [self.instances(InstanceIds=[one])[0]["State"]["Name"] for _ in range(3)]
        self.assertEqual(states, ["shutting-down", "shutting-down", "terminated"])
        self.ec2.delete_subnet(SubnetId=self.subnets["a"])

    def test_a_launch_that_ends(self):
        control("script", [{"do": "launch_fails", "describes": 2, "count": 1, "code": "Client.VolumeLimitExceeded", "message": "Volume limit exceeded"}])
        self.ec2.import_key_pair(KeyName="lab", PublicKeyMaterial=KEY)
        ids = [i["InstanceId"] for i in self.run_instances(2)]
        seen = [[i["State"]["Name"] for i in self.instances(InstanceIds=ids)] for _ in range(3)]
        self.assertEqual(seen, [["pending", "running"], ["pending", "running"], ["terminated", "running"]])
        failed = self.instances(InstanceIds=ids)[0]
        self.assertEqual(failed["StateReason"], {"Code": "Client.VolumeLimitExceeded", "Message": "Volume limit exceeded"})


class InUse(Case):
    def test_subnet_group_gateway_and_vpc(self):
        ec2 = self.ec2
        group = ec2.create_security_group(GroupName="g", Description="d", VpcId=self.vpc)["GroupId"]
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        nic = {"DeviceIndex": 0, "SubnetId": self.subnets["a"], "Groups": [group], "AssociatePublicIpAddress": True}
        request = {"ImageId": self.image, "InstanceType": "c7i.large", "NetworkInterfaces": [nic]}
        one = ec2.run_instances(MinCount=1, MaxCount=1, **request)["Instances"][0]["InstanceId"]
        for call in (
            lambda: ec2.delete_subnet(SubnetId=self.subnets["a"]),
            lambda: ec2.delete_security_group(GroupId=group),
            lambda: ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc),
            lambda: ec2.delete_internet_gateway(InternetGatewayId=gateway),
            lambda: ec2.delete_vpc(VpcId=self.vpc),
        ):
            self.refused("DependencyViolation", call)
        ec2.terminate_instances(InstanceIds=[one])
        ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        ec2.delete_internet_gateway(InternetGatewayId=gateway)
        self.refused("DependencyViolation", ec2.delete_vpc, VpcId=self.vpc)
        for subnet in self.subnets.values():
            ec2.delete_subnet(SubnetId=subnet)
        self.refused("DependencyViolation", ec2.delete_vpc, VpcId=self.vpc)
        ec2.delete_security_group(GroupId=group)
        ec2.delete_vpc(VpcId=self.vpc)
        self.assertEqual(control(f"resources?region={REGION}"), [])

    def test_a_group_that_another_refers_to(self):
        a, b = (self.ec2.create_security_group(GroupName=n, Description="d", VpcId=self.vpc)["GroupId"] for n in "ab")
        rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "UserIdGroupPairs": [{"GroupId": a}]}
        self.ec2.authorize_security_group_ingress(GroupId=b, IpPermissions=[rule])
        self.refused("DependencyViolation", self.ec2.delete_security_group, GroupId=a)
        self.ec2.revoke_security_group_ingress(GroupId=b, IpPermissions=[rule])
        self.ec2.delete_security_group(GroupId=a)

    def test_an_address_in_use(self):
        one = self.run_instances()[0]["InstanceId"]
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        address = self.ec2.allocate_address(Domain="vpc")["AllocationId"]
        self.ec2.associate_address(AllocationId=address, InstanceId=one)
        self.refused("InvalidIPAddress.InUse", self.ec2.release_address, AllocationId=address)

    def test_a_key_pair_that_exists(self):
        self.ec2.import_key_pair(KeyName="lab", PublicKeyMaterial=KEY)
        self.refused("InvalidKeyPair.Duplicate", self.ec2.import_key_pair, KeyName="lab", PublicKeyMaterial=KEY)


class Ends(Case):
    def test_root_volume_and_interface_end_with_their_instance(self):
        for request in [{}, {"BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 20}}]}]:
            one = self.run_instances(**request)[0]["InstanceId"]
            self.ec2.terminate_instances(InstanceIds=[one])
        kinds = [r["kind"] for r in control(f"resources?region={REGION}")]
        self.assertEqual(kinds, ["subnet", "subnet", "VPC"])

    def test_what_was_to_stay_stays(self):
        volumes = [
            {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 20, "DeleteOnTermination": False}},
            {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 20}},
        ]
        one = self.run_instances(BlockDeviceMappings=volumes)[0]["InstanceId"]
        self.ec2.terminate_instances(InstanceIds=[one])
        kinds = [r["kind"] for r in control(f"resources?region={REGION}")]
        self.assertEqual(kinds, ["volume", "volume", "subnet", "subnet", "VPC"])


class States(Case):
    def test_one_time_spot_cannot_be_stopped(self):
        one = self.run_instances(InstanceMarketOptions={"MarketType": "spot"})[0]["InstanceId"]
        self.refused("UnsupportedOperation", self.ec2.stop_instances, InstanceIds=[one])
        options = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"}
        two = self.run_instances(InstanceMarketOptions={"MarketType": "spot", "SpotOptions": options})[0]["InstanceId"]
        self.ec2.stop_instances(InstanceIds=[two])

    def test_type_and_user_data_change_only_when_stopped(self):
        one = self.run_instances()[0]["InstanceId"]
        changes = [{"InstanceType": {"Value": "c7i.large"}}, {"UserData": {"Value": base64.b64encode(b"x")}}]
        for change in changes:
            self.refused("IncorrectInstanceState", self.ec2.modify_instance_attribute, InstanceId=one, **change)
        self.ec2.stop_instances(InstanceIds=[one])
        for change in changes:
            self.ec2.modify_instance_attribute(InstanceId=one, **change)

    def test_unknown_type_image_and_key(self):
        self.refused("InvalidInstanceType.NotFound", self.run_instances, InstanceType="zz9.large")
        self.refused("InvalidAMIID.NotFound", self.run_instances, ImageId="ami-00000000000000000")
        self.refused("InvalidKeyPair.NotFound", self.run_instances, KeyName="nobody")


class StopAt(Case):
    def stop(self, call, when, of="mutating"):
        control("stop", {"call": call, "when": when, "of": of})

    def begin(self, cidr):
        def work():
            try:
                client().create_vpc(CidrBlock=cidr)
            except ConnectionClosedError:
                self.ended.append(cidr)
        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def vpcs(self):
        return {v["CidrBlock"] for v in self.ec2.describe_vpcs()["Vpcs"]}

    def held(self, when):
        self.ended = []
        self.stop(2, when)
        self.ec2.create_vpc(CidrBlock="10.1.0.0/16")
        self.assertFalse(control("stopped")["stopped"])
        second = self.begin("10.2.0.0/16")
        held = control("stopped?wait=30")
        self.assertEqual((held["stopped"], held["call"]["action"], held["call"]["params"]["CidrBlock"]), (True, "CreateVpc", "10.2.0.0/16"))
        # Reads pass meanwhile; further changes wait, and are not done.
        seen = self.vpcs()
        third = self.begin("10.3.0.0/16")
        while len([c for c in control("calls") if c["mutating"]]) < 3:
            pass
        control("release", {})
        second.join()
        third.join()
        self.assertEqual(sorted(self.ended), ["10.2.0.0/16", "10.3.0.0/16"])
        self.assertNotIn("10.3.0.0/16", self.vpcs())
        self.assertEqual(seen, self.vpcs())
        self.ec2.create_vpc(CidrBlock="10.4.0.0/16")
        return "10.2.0.0/16" in seen

    def test_before(self):
        self.assertFalse(self.held("before"))

    def test_after(self):
        self.assertTrue(self.held("after"))

    def test_reads_too(self):
        self.stop(1, "before", "all")
        threading.Timer(0, lambda: (control("stopped?wait=30"), control("release", {}))).start()
        with self.assertRaises(ConnectionClosedError):
            self.ec2.describe_vpcs()


class Log(Case):
    def test_calls_and_resources(self):
        self.ec2.import_key_pair(KeyName="lab", PublicKeyMaterial=KEY)
        self.run_instances(TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Deployment", "Value": "4504"}]}])
        calls = [c for c in control("calls") if c["service"] == "ec2"]
        self.assertEqual([(c["action"], c["mutating"], c["status"], c["region"]) for c in calls], [
            ("ImportKeyPair", True, 200, REGION), ("RunInstances", True, 200, REGION),
        ])
        self.assertGreater(calls[1]["took"], 0)
        kinds = sorted(r["kind"] for r in control(f"resources?region={REGION}"))
        self.assertEqual(kinds, ["VPC", "instance", "key pair", "network interface", "subnet", "subnet", "volume"])
        tagged = [r["kind"] for r in control(f"resources?region={REGION}") if r["tags"].get("Deployment") == "4504"]
        self.assertEqual(tagged, ["instance"])
        self.assertEqual(control("resources?region=us-west-2"), [])

    def test_the_address_service(self):
        with urllib.request.urlopen(f"{ENDPOINT}/checkip") as reply:
            self.assertEqual(reply.read(), b"198.51.100.7\n")

    def test_other_services_pass(self):
        sts = boto3.client("sts", endpoint_url=ENDPOINT, region_name=REGION, aws_access_key_id="lab", aws_secret_access_key="none")
        self.assertEqual(sts.get_caller_identity()["Account"], "123456789012")


if __name__ == "__main__":
    unittest.main()
