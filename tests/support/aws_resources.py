"""What exists in a region: what a test asserts, and what must be nothing at the end."""

from aws_answers import GONE, LISTS, main_table


def tags(item):
    return {t.findtext("key"): t.findtext("value") or "" for t in item.iterfind("tagSet/item")}


def resources(cloud, call):
    """All that exists in the region of the call, as moto has it, beyond what every account has there by default."""
    found = []

    def see(kind, action, keep=lambda _: True, state="state"):
        path, tag = LISTS[action]
        for item in cloud.ask(call, action).iterfind(path + "/item"):
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
    return found
