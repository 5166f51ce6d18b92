"""What exists in ministack beyond what an account has there by default, and the tags of it.

ministack's GetResources leaves out what AWS's shows of EC2, RDS, load balancers, groups of caches and stacks: added here.
https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/supported-services.html
"""

from ministack.core.responses import get_account_id, get_region
from ministack.services import alb, autoscaling, cloudformation, ec2, elasticache, iam, rds, s3, secretsmanager, sns, tagging


def main_table(table):
    return any(a.get("Main") for a in table.get("Associations", []))


def in_default_network(gateway):
    return any((ec2._vpcs.get(a.get("VpcId")) or {}).get("IsDefault") for a in gateway.get("Attachments", []))


# (kind, what holds them, what is nobody's, how an ARN names it in EC2)
EC2 = [
    ("VPC", ec2._vpcs, lambda v: v.get("IsDefault"), "vpc"),
    ("subnet", ec2._subnets, lambda s: s.get("DefaultForAz"), "subnet"),
    ("security group", ec2._security_groups, lambda g: g.get("GroupName") == "default", "security-group"),
    ("internet gateway", ec2._internet_gateways, in_default_network, "internet-gateway"),
    ("route table", ec2._route_tables, main_table, "route-table"),
    ("address", ec2._addresses, None, "elastic-ip"),
    ("network interface", ec2._network_interfaces, None, "network-interface"),
    ("NAT gateway", ec2._nat_gateways, lambda g: g.get("State") == "deleted", "natgateway"),
    ("launch template", ec2._launch_templates, None, "launch-template"),
]
# (kind, what holds them, what is nobody's, what names its ARN, where its tags are; none: in itself)
OTHERS = [
    ("stack", cloudformation._stacks, lambda s: s["StackStatus"] == "DELETE_COMPLETE", "StackId", None),
    ("auto-scaling group", autoscaling._asgs, None, "AutoScalingGroupARN", None),
    ("launch configuration", autoscaling._launch_configs, None, "LaunchConfigurationARN", None),
    ("load balancer", alb._lbs, None, "LoadBalancerArn", alb._tags),
    ("target group", alb._tgs, None, "TargetGroupArn", alb._tags),
    ("listener", alb._listeners, None, "ListenerArn", alb._tags),
    ("DB instance", rds._instances, None, "DBInstanceArn", rds._tags),
    ("DB cluster", rds._clusters, None, "DBClusterArn", rds._tags),
    ("DB subnet group", rds._subnet_groups, lambda g: g.get("DBSubnetGroupName") == "default", "DBSubnetGroupArn", rds._tags),
    ("DB snapshot", rds._snapshots, None, "DBSnapshotArn", rds._tags),
    ("cache cluster", elasticache._clusters, None, None, elasticache._tags),
    ("replication group", elasticache._replication_groups, None, "ARN", elasticache._tags),
    ("cache subnet group", elasticache._subnet_groups, lambda g: g.get("CacheSubnetGroupName") == "default", "ARN", elasticache._tags),
    ("cache snapshot", elasticache._snapshots, None, "ARN", elasticache._tags),
    ("role", iam._roles, lambda r: str(r.get("Path", "")).startswith("/aws-service-role/"), "Arn", None),
    ("user", iam._users, None, "Arn", None),
    ("instance profile", iam._instance_profiles, None, "Arn", None),
    ("managed policy", iam._policies, lambda p: ":iam::aws:" in str(p.get("Arn", "")), "Arn", None),
    ("topic", sns._topics, None, "TopicArn", None),
    ("secret", secretsmanager._secrets, None, "ARN", None),
    ("bucket", s3._buckets, None, None, s3._bucket_tags),
]
# These are in its answer as it is.
ANSWERED = {"topic", "secret", "bucket", "auto-scaling group", "launch configuration", "user", "managed policy"}
STATE = ("StackStatus", "DBInstanceStatus", "CacheClusterStatus", "State", "Status")


def as_map(tags):
    if isinstance(tags, dict):
        return {str(k): str(v) for k, v in tags.items()}
    return {t["Key"]: str(t.get("Value", "")) for t in tags or [] if isinstance(t, dict) and "Key" in t}


def every():
    """(kind, id, arn, record, tags)"""
    for kind, store, default, word in EC2:
        for key, record in store.items():
            if not (default and default(record)):
                tags = ec2._tags.get(key) or record.get("Tags")
                yield kind, key, f"arn:aws:ec2:{get_region()}:{get_account_id()}:{word}/{key}", record, as_map(tags)
    for kind, store, default, named, tags in OTHERS:
        for key, record in store.items():
            if default and default(record):
                continue
            arn = f"arn:aws:s3:::{key}" if kind == "bucket" else elasticache._arn_cluster(key) if kind == "cache cluster" else record.get(named, "")
            where = tags.get(key if kind == "bucket" else arn) if tags is not None else None
            yield kind, str(key), arn, record, as_map(where or record.get("Tags") or record.get("TagList") or record.get("tags"))


def resources():
    found = []
    for kind, key, _, record, tags in every():
        state = next((str(record[s]) for s in STATE if isinstance(record.get(s), str)), "")
        found.append({"kind": kind, "id": key, "state": state, "tags": tags})
    return found


def tagged():
    for kind, _, arn, _, tags in every():
        if kind not in ANSWERED and arn:
            yield arn, [{"Key": k, "Value": v} for k, v in tags.items()]


def install():
    tagging._COLLECTORS["opsrun"] = tagged
