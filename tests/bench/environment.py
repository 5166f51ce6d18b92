#!/usr/bin/env python3
"""Calls and wall time of `opsrun manage staging commission` with three groups, images absent and present, beside a boto3 script
that does the same steps one after the other: an instance for each image, its role over ssh, the image, then the stack.

~/.cache/opsrun-test/moto/bin/python tests/bench/environment.py [--opsrun PATH] [--latency SECONDS]        as root

The cloud is that of the tests (moto and ministack behind the proxy, see aws.py): every call waits for `latency`, instances are
pending for `boot` seconds. Both are made up, the same for both programs: compare the programs, not with AWS. Machines are played by
real sshds on this host. Prints a Markdown table; one run each.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import boto3
from aws import IMAGE, REGION, ROOT, Cloud

GROUPS = ["web", "api", "worker"]
GROUP = """  {N}Template:
    Type: AWS::EC2::LaunchTemplate
    Properties:
      LaunchTemplateData: {{ ImageId: !Ref {N}Image, InstanceType: t3.small, KeyName: shop }}
  {N}Group:
    Type: AWS::AutoScaling::AutoScalingGroup
    Properties:
      AvailabilityZones: [{region}a]
      MinSize: 2
      MaxSize: 4
      LaunchTemplate: {{ LaunchTemplateId: !Ref {N}Template, Version: !GetAtt {N}Template.LatestVersionNumber }}
      Tags:
        - {{ Key: App, Value: shop, PropagateAtLaunch: true }}
        - {{ Key: Env, Value: staging, PropagateAtLaunch: true }}
        - {{ Key: Group, Value: {n}, PropagateAtLaunch: true }}
"""
# What the role of each group does: enough to be seen.
WORK = "sleep 1; echo {} > /etc/mark"


class Shop:
    """What both start from: a project, a key pair, a way to the machines."""

    def __init__(self, cloud):
        self.folder = tempfile.TemporaryDirectory()
        self.dir, self.cloud = Path(self.folder.name), cloud
        subprocess.run(["ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", self.dir / "key"], check=True)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        self.environment |= {"AWS_ENDPOINT_URL": cloud.url, "AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "none"}
        self.environment |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null"}
        self.environment |= {"AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "PYTHONDONTWRITEBYTECODE": "1"}
        words = [sys.executable, ROOT / "tests/support/aws_machine.py", "--whole", self.dir / "machines", cloud.url, REGION]
        self.way = "env PYTHONDONTWRITEBYTECODE=1 " + " ".join(shlex.quote(str(w)) for w in words) + " %h"
        resources = "".join(GROUP.format(N=n.capitalize(), n=n, region=REGION) for n in GROUPS)
        parameters = "".join(f"  {n.capitalize()}Image: {{ Type: 'AWS::EC2::Image::Id' }}\n" for n in GROUPS)
        self.template = f"Parameters:\n{parameters}Resources:\n{resources}"
        keys = dict(endpoint_url=cloud.url, region_name=REGION, aws_access_key_id="lab", aws_secret_access_key="none")
        self.ec2, self.stacks = boto3.client("ec2", **keys), boto3.client("cloudformation", **keys)
        self.ec2.import_key_pair(KeyName="shop", PublicKeyMaterial=(self.dir / "key.pub").read_bytes())


class Opsrun:
    name = "opsrun"

    def __init__(self, shop, path):
        self.shop, self.path = shop, path
        groups = "".join(f"  {n}: {{ image: {IMAGE}, user: root, roles: [{n}] }}\n" for n in GROUPS)
        self.write("environments/staging.yml", f"app: shop\nregion: {REGION}\navailability_zone: {REGION}a\nallow_from: 198.51.100.7/32\n"
                   f"formations: [own]\nhost_keys: pin\nprivate_key_path: ../key\nproxy_command: \"{shop.way}\"\ngroups:\n{groups}")
        self.write("formations/own.yml", shop.template)
        for name in GROUPS:
            self.write(f"roles/{name}/main.rhai", f"fn apply(nodes, vars) {{ nodes.sh(\"{WORK.format(name)}\"); }}\n")

    def write(self, name, text):
        path = self.shop.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *words):
        command = [self.path, "manage", "staging", *words, "--yes"]
        out = subprocess.run(command, cwd=self.shop.dir, env=self.shop.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if out.returncode != 0:
            sys.exit(f"{command}: {out.stdout}{out.stderr}")

    def commission(self):
        self.run("commission")

    def away(self):
        self.run("decommission")


class OneByOne:
    name = "one after the other"

    def __init__(self, shop):
        self.shop, self.images = shop, {}

    def commission(self):
        for name in GROUPS:
            if name not in self.images:
                self.images[name] = self.bake(name)
        values = [{"ParameterKey": f"{n.capitalize()}Image", "ParameterValue": self.images[n]} for n in GROUPS]
        self.shop.stacks.create_stack(StackName="by-hand", TemplateBody=self.shop.template, Parameters=values)
        self.shop.stacks.get_waiter("stack_create_complete").wait(StackName="by-hand", WaiterConfig={"Delay": 1})
        self.shop.ec2.describe_instances(Filters=[{"Name": "tag:Env", "Values": ["staging"]}])

    def bake(self, name):
        ec2 = self.shop.ec2
        made = ec2.run_instances(ImageId=IMAGE, InstanceType="t3.small", MinCount=1, MaxCount=1, KeyName="shop")
        key = made["Instances"][0]["InstanceId"]
        ec2.get_waiter("instance_running").wait(InstanceIds=[key], WaiterConfig={"Delay": 1})
        seen = ec2.describe_instances(InstanceIds=[key])["Reservations"][0]["Instances"][0]
        ssh = ["ssh", "-o", f"ProxyCommand={self.shop.way}", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
               "-o", "LogLevel=ERROR", "-i", self.shop.dir / "key", f"root@{seen['PublicIpAddress']}", WORK.format(name)]
        subprocess.run(ssh, check=True, stdin=subprocess.DEVNULL)
        ec2.stop_instances(InstanceIds=[key])
        ec2.get_waiter("instance_stopped").wait(InstanceIds=[key], WaiterConfig={"Delay": 1})
        image = ec2.create_image(InstanceId=key, Name=f"by-hand-{name}")["ImageId"]
        ec2.get_waiter("image_available").wait(ImageIds=[image], WaiterConfig={"Delay": 1})
        ec2.terminate_instances(InstanceIds=[key])
        ec2.get_waiter("instance_terminated").wait(InstanceIds=[key], WaiterConfig={"Delay": 1})
        return image

    def away(self):
        self.shop.stacks.delete_stack(StackName="by-hand")
        self.shop.stacks.get_waiter("stack_delete_complete").wait(StackName="by-hand", WaiterConfig={"Delay": 1})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opsrun", default=ROOT / "target/debug/opsrun", type=Path)
    parser.add_argument("--latency", default=0.1, type=float)
    parser.add_argument("--boot", default=3.0, type=float)
    args = parser.parse_args()
    print("| commission, 3 groups | | wall | calls | of them changes |\n|---|---|---|---|---|")
    for make in (lambda shop: Opsrun(shop, args.opsrun.resolve()), OneByOne):
        cloud = Cloud(args.latency, args.boot)
        try:
            program = make(Shop(cloud))
            for what in ("images absent", "images present"):
                wall, calls, changes = cloud.measure(program.commission)
                print(f"| {what} | {program.name} | {wall:.1f} s | {calls} | {changes} |", flush=True)
                program.away()
        finally:
            cloud.end()


if __name__ == "__main__":
    main()
