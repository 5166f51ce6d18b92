"""Databases and caches of stacks where ministack has less than CloudFormation.

ManageMasterUserPassword makes a secret that goes with its instance; DeletionProtection holds; a snapshot that a DeletionPolicy
takes has a name of its own, and the instance's tags if it copies them; caches get the stack's tags.
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-rds-dbinstance.html
"""

import json
import uuid

import bridge_exists
from ministack.services import rds, secretsmanager
from ministack.services.cloudformation import provisioners

KIND = "AWS::RDS::DBInstance"
HANDLER = dict(provisioners._RESOURCE_HANDLERS[KIND])


def truth(value):
    return str(value).lower() == "true"


def with_secret(name, attributes, props):
    """The attributes, with the secret's if there is to be one."""
    record = rds._instances[name]
    if not truth(props.get("ManageMasterUserPassword")):
        return attributes
    if "MasterUserSecret" not in record:
        user = {"username": props.get("MasterUsername", "admin"), "password": uuid.uuid4().hex}
        arn, _ = secretsmanager._store_new_secret(f"rds!db-{uuid.uuid4()}", secret_string=json.dumps(user), tags=[
            {"Key": "aws:rds:primaryDBInstanceArn", "Value": record["DBInstanceArn"]}, {"Key": "aws:secretsmanager:owningService", "Value": "rds"},
        ])
        record["MasterUserSecret"] = {"SecretArn": arn, "SecretStatus": "active"}
    return {**attributes, "MasterUserSecret.SecretArn": record["MasterUserSecret"]["SecretArn"]}


def create(logical_id, props, stack_name):
    name = props.get("DBInstanceIdentifier")
    if name and name in rds._instances:
        raise ValueError(f'Resource handler returned message: "DB instance already exists (Service: Rds, Status Code: 400)" ({name})')
    name, attributes = HANDLER["create"](logical_id, props, stack_name)
    return name, with_secret(name, attributes, props)


def update(name, old, new, stack_name, logical_id=None):
    after, attributes = HANDLER["update"](name, old, new, stack_name, logical_id)
    return after, with_secret(after, attributes, new)


def delete(name, props):
    record = rds._instances.get(name) or {}
    if truth(record.get("DeletionProtection")):
        raise ValueError('Resource handler returned message: "Cannot delete protected DB Instance, please disable deletion protection and '
                         'try again. (Service: Rds, Status Code: 400)"')
    HANDLER["delete"](name, props)
    secret = (record.get("MasterUserSecret") or {}).get("SecretArn")
    for key in [k for k, s in secretsmanager._secrets.items() if s.get("ARN") == secret]:
        secretsmanager._secrets.pop(key, None)


def snapshot(name, props):
    record = rds._instances.get(name)
    if record is None:
        return
    taken = f"{name}-snapshot-{uuid.uuid4().hex[:12]}"
    rds._create_snapshot_internal(taken, record)
    if truth(props.get("CopyTagsToSnapshot")):
        tags = {k: v for k, v in bridge_exists.as_map(record.get("TagList") or rds._tags.get(record["DBInstanceArn"])).items() if not k.startswith("aws:")}
        copied = [{"Key": k, "Value": v} for k, v in tags.items()]
        rds._snapshots[taken]["TagList"] = copied
        rds._tags[rds._snapshots[taken]["DBSnapshotArn"]] = copied


def install():
    provisioners._RESOURCE_HANDLERS[KIND] |= {"create": create, "update": update, "delete": delete, "snapshot": snapshot}
    for kind in ("AWS::ElastiCache::CacheCluster", "AWS::ElastiCache::SubnetGroup"):
        provisioners._STACK_TAG_PROPERTY[kind] = ("Tags", "list")
