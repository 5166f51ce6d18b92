"""What exists in a region: what a test asserts, and what must be nothing at the end."""

from aws_answers import GONE, LISTS, main_table
from aws_images import OWNER


def tags(item):
    return {t.findtext("key"): t.findtext("value") or "" for t in item.iterfind("tagSet/item")}


def resources(cloud, call):
    """All that exists in the region of the call, as moto has it, beyond what every account has there by default."""
    found = []

    def see(kind, action, keep=lambda _: True, state="state", **params):
        path, tag = LISTS[action]
        for item in cloud.ask(call, action, **params).iterfind(path + "/item"):
            if keep(item):
                found.append({"kind": kind, "id": item.findtext(tag), "state": item.findtext(state) or "", "tags": tags(item)})

    default = {
        v.findtext("vpcId") for v in cloud.ask(call, "DescribeVpcs").iterfind("vpcSet/item") if v.findtext("isDefault") == "true"
    }
    see("instance", "DescribeInstances", lambda i: i.findtext("instanceState/name") not in GONE, "instanceState/name")
    see("volume", "DescribeVolumes", state="status")
    see("key pair", "DescribeKeyPairs")
    see("security group", "DescribeSecurityGroups", lambda g: g.findtext("groupName") != "default")
    see("subnet", "DescribeSubnets", lambda s: s.findtext("defaultForAz") != "true")
    see("internet gateway", "DescribeInternetGateways", lambda g: g.findtext("attachmentSet/item/vpcId") not in default)
    see("route table", "DescribeRouteTables", lambda t: not main_table(t))
    see("VPC", "DescribeVpcs", lambda v: v.findtext("vpcId") not in default)
    see("address", "DescribeAddresses")
    see("network interface", "DescribeNetworkInterfaces", state="status")
    see("image", "DescribeImages", state="imageState", Owner_1="self")
    see("snapshot", "DescribeSnapshots", state="status", Filter_1_Name="owner-id", Filter_1_Value_1=OWNER)
    return found


def machine(cloud, call, address):
    """What an instance knows of itself, for the machine that plays it; nothing if none runs at this address."""
    for key, instance in cloud.instances(call).items():
        here = address in (instance.findtext("ipAddress"), instance.findtext("privateIpAddress"))
        if not here or instance.findtext("instanceState/name") != "running":
            continue
        data = cloud.ask(call, "DescribeInstanceAttribute", InstanceId=key, Attribute="userData").findtext("userData/value")
        keys = cloud.ask(call, "DescribeKeyPairs", IncludePublicKey="true").iterfind("keySet/item")
        public = [k.findtext("publicKey") for k in keys if k.findtext("keyName") == instance.findtext("keyName")]
        # The instance that its image was made of, if one of these was.
        image = cloud.ask(call, "DescribeImages", Filter_1_Name="image-id", Filter_1_Value_1=instance.findtext("imageId"))
        source = image.findtext("imagesSet/item/sourceInstanceId") or ""
        return {"id": key, "user_data": data or "", "public_key": public[0] if public else "", "source": source}
    return None
