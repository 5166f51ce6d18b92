#!/usr/bin/env python3
"""Calls and wall time to provision a lab on EC2 and to scale it: opsrun beside a boto3 script that does the same one by one.

~/.cache/opsrun-test/moto/bin/python tests/bench/aws.py [--opsrun PATH] [--latency SECONDS] [--runs N]

The cloud is moto behind the proxy of the tests, which makes every call wait for `latency` first, as a network does, and keeps
instances pending for `boot` seconds. Both numbers are made up, the same for both programs: compare the programs, not with AWS.
Neither contacts a node: this is about the cloud. Prints a Markdown table of medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGE, TYPE, REGION = "ami-1e749f67", "c7i.large", "eu-central-1"
LAB = {"server": 3, "client": 2, "monitor": 1}
PORTS = {"server": [9042, 7000, 7199], "client": [2159], "monitor": [9090, 3000]}


class Cloud:
    def __init__(self, latency, boot):
        proxy = [sys.executable, ROOT / "tests/support/aws_proxy.py", "--until-stdin-ends"]
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(proxy, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.url = self.process.stdout.readline().strip()
        self.rules = [{"do": "wait", "seconds": latency}, {"do": "slow_start", "action": "RunInstances", "seconds": boot}]

    def control(self, path, order=None):
        body = json.dumps(order).encode() if order is not None else None
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/_proxy/{path}", body)) as reply:
            return json.load(reply)

    def measure(self, work):
        """(wall time, calls, changing calls) of the work."""
        self.control("forget", {})
        self.control("script", self.rules)
        began = time.monotonic()
        work()
        wall = time.monotonic() - began
        calls = self.control("calls")
        return wall, len(calls), sum(c["mutating"] for c in calls)

    def nodes(self):
        found = [r for r in self.control(f"resources?region={REGION}") if r["kind"] == "instance"]
        return sorted(r["tags"].get("Name", "?") for r in found)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Opsrun:
    """The real thing."""

    name = "opsrun"

    def __init__(self, cloud, path):
        self.dir, self.path, self.cloud = tempfile.TemporaryDirectory(), path, cloud

    def provision(self, lab):
        groups = "".join(f"{g}_count: {n}\n{g}_instance_type: {TYPE}\n{g}_ami: {IMAGE}\n" for g, n in lab.items())
        text = f"provider: aws\nregion: {REGION}\navailability_zone: {REGION}a\nallow_from: 198.51.100.7/32\n{groups}"
        (Path(self.dir.name) / "lab.yml").write_text(text)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        environment |= {"AWS_ENDPOINT_URL": self.cloud.url, "AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "none"}
        environment |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
        command = [self.path, "provision", "lab", "lab.yml", "--yes", "--no-wait"]
        out = subprocess.run(command, cwd=self.dir.name, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if out.returncode != 0:
            sys.exit(f"opsrun failed: {out.stdout}{out.stderr}")


class OneByOne:
    """What one writes first: the same resources, node after node, each waited for. Tags at creation, as they should be."""

    name = "boto3, one by one"

    def __init__(self, cloud, _):
        keys = {"aws_access_key_id": "lab", "aws_secret_access_key": "none"}
        self.ec2 = boto3.client("ec2", region_name=REGION, endpoint_url=cloud.url, config=Config(retries={"mode": "standard"}), **keys)
        self.made, self.vpc = {}, None

    def tags(self, kind, **more):
        tags = {"Deployment": "lab", "Owner": "lab@example.com"} | more
        return [{"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]

    def network(self, groups):
        ec2 = self.ec2
        key = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHlt8IqM3Dd5PBrXUXiPi0yz7JjiW6mP5Yk3VYjzvRxw lab"
        ec2.import_key_pair(KeyName="lab", PublicKeyMaterial=key, TagSpecifications=self.tags("key-pair"))
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=self.tags("vpc"))["Vpc"]["VpcId"]
        gateway = ec2.create_internet_gateway(TagSpecifications=self.tags("internet-gateway"))["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        subnet = {"VpcId": self.vpc, "CidrBlock": "10.0.0.0/20", "AvailabilityZone": REGION + "a"}
        self.subnet = ec2.create_subnet(TagSpecifications=self.tags("subnet"), **subnet)["Subnet"]["SubnetId"]
        table = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["RouteTables"][0]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        self.groups = {}
        for group in groups:
            request = {"GroupName": group, "Description": group, "VpcId": self.vpc}
            self.groups[group] = ec2.create_security_group(TagSpecifications=self.tags("security-group"), **request)["GroupId"]
            ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "198.51.100.7/32"}]}
            ec2.authorize_security_group_ingress(GroupId=self.groups[group], IpPermissions=[ssh])
        for group, ports in PORTS.items():
            for port in ports:
                within = [{"GroupId": g} for g in self.groups.values()]
                rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "UserIdGroupPairs": within}
                ec2.authorize_security_group_ingress(GroupId=self.groups[group], IpPermissions=[rule])

    def provision(self, lab):
        if not self.vpc:
            self.network(lab)
        for group, count in lab.items():
            for index in range(self.made.get(group, 0), count):
                interface = {"DeviceIndex": 0, "SubnetId": self.subnet, "Groups": [self.groups[group]], "AssociatePublicIpAddress": True}
                tags = self.tags("instance", Name=f"{group}-{index}", Group=group, Index=str(index))
                request = {"ImageId": IMAGE, "InstanceType": TYPE, "KeyName": "lab", "MinCount": 1, "MaxCount": 1}
                made = self.ec2.run_instances(NetworkInterfaces=[interface], TagSpecifications=tags, **request)
                waiter = self.ec2.get_waiter("instance_running")
                waiter.wait(InstanceIds=[made["Instances"][0]["InstanceId"]], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
                self.made[group] = index + 1


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--opsrun", default=ROOT / "target/release/opsrun", type=Path)
    arguments.add_argument("--latency", default=0.1, type=float, help="of each call, in seconds (default 0.1)")
    arguments.add_argument("--boot", default=3.0, type=float, help="how long instances are pending, in seconds (default 3)")
    arguments.add_argument("--runs", default=3, type=int)
    options = arguments.parse_args()
    cloud = Cloud(options.latency, options.boot)
    try:
        # The first call to moto in a process loads its data: not counted.
        OneByOne(cloud, None).ec2.describe_images()
        figures = {}
        for _ in range(options.runs):
            for program in (Opsrun, OneByOne):
                cloud.control("reset", {})
                run = program(cloud, options.opsrun.resolve())
                for what, lab in (("provision 3 + 2 + 1", LAB), ("scale 3 -> 30", LAB | {"server": 30})):
                    figures.setdefault((what, program.name), []).append(cloud.measure(lambda: run.provision(lab)))
                    wanted = sorted(f"{g}-{i}" for g, n in lab.items() for i in range(n))
                    if cloud.nodes() != wanted:
                        sys.exit(f"{program.name}, {what}: {cloud.nodes()}")
    finally:
        cloud.end()
    print(f"{options.latency} s a call, {options.boot} s pending, medians of {options.runs}\n")
    print("| | | wall | calls | of them changes |\n|---|---|---|---|---|")
    for (what, program), runs in figures.items():
        wall, calls, changes = (statistics.median(column) for column in zip(*runs))
        print(f"| {what} | {program} | {wall:.1f} s | {calls:.0f} | {changes:.0f} |")


if __name__ == "__main__":
    main()
