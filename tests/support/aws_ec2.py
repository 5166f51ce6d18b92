"""What EC2 does and moto does not. Each rule cites the page of https://docs.aws.amazon.com it follows."""

import base64
import fnmatch
import re
import threading
import time
import xml.etree.ElementTree as ET

from aws_answers import GONE, LISTS, Late, Refusal, error, error_code, main_table, parse, put, set_state, text, values
from aws_images import Images

# Where the id of a new thing stands in the answer to the call that made it.
MADE = {
    "RunInstances": "instancesSet/item/instanceId",
    "ImportKeyPair": "keyName",
    "CreateKeyPair": "keyName",
    "CreateVolume": "volumeId",
    "CreateSecurityGroup": "groupId",
    "CreateSubnet": "subnet/subnetId",
    "CreateInternetGateway": "internetGateway/internetGatewayId",
    "CreateVpc": "vpc/vpcId",
    "AllocateAddress": "allocationId",
    "CreateRouteTable": "routeTable/routeTableId",
    "CreateImage": "imageId",
}

# Asking for one that is not there: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
NOT_FOUND = {
    "i": ("InvalidInstanceID.NotFound", "The instance ID '{}' does not exist"),
    "vol": ("InvalidVolume.NotFound", "The volume '{}' does not exist."),
    "sg": ("InvalidGroup.NotFound", "The security group '{}' does not exist"),
    "subnet": ("InvalidSubnetID.NotFound", "The subnet ID '{}' does not exist"),
    "igw": ("InvalidInternetGatewayID.NotFound", "The internetGateway ID '{}' does not exist"),
    "vpc": ("InvalidVpcID.NotFound", "The vpc ID '{}' does not exist"),
    "eipalloc": ("InvalidAllocationID.NotFound", "The allocation ID '{}' does not exist"),
    "rtb": ("InvalidRouteTableID.NotFound", "The routeTable ID '{}' does not exist"),
    "ami": ("InvalidAMIID.NotFound", "The image id '[{}]' does not exist"),
}
KEY_NOT_FOUND = ("InvalidKeyPair.NotFound", "The key pair '{}' does not exist")


class Cloud:
    """The state that moto does not keep."""

    def __init__(self, forward, templates):
        self.forward, self.images = forward, Images(self, templates)
        self.lock, self.launching = threading.RLock(), threading.Lock()
        self.tokens, self.hidden, self.starting, self.ending, self.failing, self.reasons = {}, {}, {}, {}, {}, {}
        self.persistent, self.keeping, self.zones = set(), set(), {}
        self.consoles = {}

    def ask(self, call, action, **params):
        """The tree of moto's answer to a question of ours, asked as the caller."""
        status, _, body = self.forward(call.with_params(action, {k.replace("_", "."): v for k, v in params.items()}))
        if status != 200:
            code, message = error_code(body) or "InternalError", re.search(rb"<Message>([^<]*)", body)
            raise Refusal(status, code, message.group(1).decode() if message else f"moto says {status} to {action}")
        return parse(body)

    def regions(self, call):
        tree = self.ask(call.elsewhere("us-east-1"), "DescribeRegions")
        return {r.findtext("regionName") for r in tree.iterfind("regionInfo/item")}

    def instances(self, call, **filters):
        """Id -> element of those that are not gone; filters as subnet_id="subnet-…"."""
        params = {}
        for n, (name, value) in enumerate(filters.items(), 1):
            params |= {f"Filter_{n}_Name": name.replace("_", "-"), f"Filter_{n}_Value_1": value}
        tree = self.ask(call, "DescribeInstances", **params)
        found = {i.findtext("instanceId"): i for i in tree.iterfind("reservationSet/item/instancesSet/item")}
        return {k: i for k, i in found.items() if i.findtext("instanceState/name") not in GONE or self.still_ending(k)}

    def still_ending(self, instance):
        with self.lock:
            return instance in self.ending and self.ending[instance].on()

    def place(self, call):
        """What a RunInstances asks for, as rules speak of it."""
        if call.action != "RunInstances":
            return {}
        p = call.params
        market = p.get("InstanceMarketOptions.MarketType", "on-demand")
        place = {"type": p.get("InstanceType", "m1.small"), "market": market, "zone": p.get("Placement.AvailabilityZone", "")}
        place |= {"least": int(p.get("MinCount", 1)), "most": int(p.get("MaxCount", 1)), "explicit": bool(place["zone"])}
        subnet = p.get("SubnetId") or p.get("NetworkInterface.1.SubnetId")
        if subnet:
            if subnet not in self.zones:
                try:
                    tree = self.ask(call, "DescribeSubnets", SubnetId_1=subnet)
                    self.zones[subnet] = tree.findtext("subnetSet/item/availabilityZone") or ""
                except Refusal:
                    return place
            place |= {"zone": self.zones[subnet], "explicit": True}
        return place

    # --- before

    def answer(self, call, effects):
        """(status, content type, body, what was done)"""
        try:
            if call.dry_run:
                # moto does it for real where it knows no dry runs. What is left to say is that the caller may:
                # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html
                raise Refusal(412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
            self.refuse(call)
            if call.action == "GetConsoleOutput":
                return *self.console(call), "the console as the test told it"
            if call.action == "RunInstances":
                return self.run_instances(call, effects)
            of_image = self.images.answer(call, effects)
            if of_image:
                status, headers, body = of_image
                body = self.after(call, effects, body) if status == 200 else body
                return status, headers.get("Content-Type", "text/xml"), body, "answered as AWS does for images"
            self.fail_launches(call)
            if effects.page:
                # A page may hold fewer than were asked for, and what a page holds are reservations:
                # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html#api-pagination
                call = call.with_params(call.action, {**call.params, "MaxResults": effects.page["most"]})
            doomed = self.interfaces_of(call, values(call.params, "InstanceId")) if call.action == "TerminateInstances" else []
            status, headers, body = self.forward(self.images.with_owner(self.with_user_data(self.with_token_filter(call))))
            self.delete_interfaces(call, doomed)
            body = self.after(call, effects, body) if status == 200 else body
            if status >= 500 and call.region not in self.regions(call):
                # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
                raise Refusal(401, "AuthFailure", f"Credential should be scoped to a valid region, not '{call.region}'.")
            if status >= 500:
                # moto's own failures are HTML pages with 500, which an SDK repeats: the test should see them at once.
                return *error(501, "NotInMoto", f"moto answers {status} to {call.action}; see its log"), "moto failed"
            return status, headers.get("Content-Type", "text/xml"), body, "forwarded"
        except Refusal as refusal:
            return *error(*refusal.args), f"refused as AWS does: {refusal.args[1]}"

    def console(self, call):
        """Nothing at first, then what the test says it says; moto's is always the same.
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html"""
        instance = call.params.get("InstanceId", "")
        if instance not in self.instances(call):
            raise Refusal(400, *(t.format(instance) for t in NOT_FOUND["i"]))
        root = ET.Element("GetConsoleOutputResponse")
        put(root, "instanceId", instance)
        put(root, "timestamp", time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()))
        with self.lock:
            said = self.consoles.get(instance)
            if said:
                said[0] -= 1
            if said and said[0] < 0:
                put(root, "output", base64.b64encode(said[1].encode()).decode())
        return 200, "text/xml", text(root)

    def refuse(self, call):
        """Raises where AWS would."""
        p = call.params
        if call.action in LISTS or call.mutating:
            self.refuse_hidden(call)
        self.images.refuse(call)
        if call.action == "StopInstances":
            # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-instances-request.html: only
            # instances of persistent requests can be stopped.
            for k, i in self.instances(call).items():
                if k in values(p, "InstanceId") and i.findtext("instanceLifecycle") == "spot" and k not in self.persistent:
                    raise Refusal(400, "UnsupportedOperation", (
                        f"You can't stop the Spot Instance '{k}' because it is associated with a one-time Spot Instance request. "
                        "You can only stop Spot Instances associated with persistent Spot Instance requests."
                    ))
        elif call.action == "ModifyInstanceAttribute" and ("InstanceType.Value" in p or "UserData.Value" in p):
            # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyInstanceAttribute.html: the instance must be stopped.
            instance = self.instances(call).get(p.get("InstanceId"))
            if instance is not None and instance.findtext("instanceState/name") != "stopped":
                raise Refusal(400, "IncorrectInstanceState", f"The instance '{p['InstanceId']}' is not in the 'stopped' state.")
        elif call.action == "DeleteSubnet":
            # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSubnet.html
            subnet = p.get("SubnetId", "")
            if self.instances(call, subnet_id=subnet) or self.interfaces(call, "subnet-id", subnet):
                raise Refusal(400, "DependencyViolation", f"The subnet '{subnet}' has dependencies and cannot be deleted.")
        elif call.action == "DeleteSecurityGroup":
            self.refuse_group(call)
        elif call.action == "DeleteVpc":
            self.refuse_vpc(call)
        elif call.action == "DetachInternetGateway":
            # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DetachInternetGateway.html
            vpc = p.get("VpcId", "")
            if any(i.findtext("ipAddress") for i in self.instances(call, vpc_id=vpc).values()):
                raise Refusal(400, "DependencyViolation", (
                    f"Network {vpc} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway."
                ))
        elif call.action == "ReleaseAddress":
            # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ReleaseAddress.html
            for address in self.ask(call, "DescribeAddresses").iterfind("addressesSet/item"):
                if address.findtext("allocationId") == p.get("AllocationId") and address.findtext("associationId"):
                    raise Refusal(400, "InvalidIPAddress.InUse", f"Address {address.findtext('publicIp')} is in use.")

    def interfaces(self, call, name, value):
        return self.ask(call, "DescribeNetworkInterfaces", Filter_1_Name=name, Filter_1_Value_1=value).findall("networkInterfaceSet/item")

    def refuse_group(self, call):
        """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSecurityGroup.html: not while an instance, an
        interface or another group's rule refers to it."""
        group = call.params.get("GroupId", "")
        used = bool(self.interfaces(call, "group-id", group))
        used = used or any(
            g.text == group for i in self.instances(call).values() for g in i.iter("groupId")
        )
        for other in self.ask(call, "DescribeSecurityGroups").iterfind("securityGroupInfo/item"):
            rules = [*other.iterfind("ipPermissions/item"), *other.iterfind("ipPermissionsEgress/item")]
            used = used or other.findtext("groupId") != group and any(g.text == group for r in rules for g in r.iterfind("groups/item/groupId"))
        if used:
            raise Refusal(400, "DependencyViolation", f"resource {group} has a dependent object")

    def refuse_vpc(self, call):
        """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteVpc.html: all in it must have gone before."""
        vpc = call.params.get("VpcId", "")
        here = {"Filter_1_Name": "vpc-id", "Filter_1_Value_1": vpc}
        groups = self.ask(call, "DescribeSecurityGroups", **here).iterfind("securityGroupInfo/item")
        tables = self.ask(call, "DescribeRouteTables", **here).iterfind("routeTableSet/item")
        gateways = self.ask(call, "DescribeInternetGateways", Filter_1_Name="attachment.vpc-id", Filter_1_Value_1=vpc)
        if (
            any(g.findtext("groupName") != "default" for g in groups)
            or any(not main_table(t) for t in tables)
            or self.ask(call, "DescribeSubnets", **here).findall("subnetSet/item")
            or gateways.findall("internetGatewaySet/item")
            or self.instances(call, vpc_id=vpc)
        ):
            raise Refusal(400, "DependencyViolation", f"The vpc '{vpc}' has dependencies and cannot be deleted.")

    def refuse_hidden(self, call):
        """What is not visible yet cannot be asked for by its id, nor changed, nor used.
        https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html"""
        named = [v for k, v in call.params.items() if not k.startswith("Filter.")]
        with self.lock:
            for thing in named:
                late = self.hidden.get(thing)
                if late and late.look():
                    code, message = NOT_FOUND.get(thing.split("-")[0], KEY_NOT_FOUND)
                    raise Refusal(400, code, message.format(thing))

    def with_token_filter(self, call):
        """moto answers 500 to the filter client-token, which DescribeInstances documents: asked for by id instead.
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html"""
        named = [k for k, v in call.params.items() if v == "client-token" and re.fullmatch(r"Filter\.\d+\.Name", k)]
        if call.action != "DescribeInstances" or not named:
            return call
        params, prefix = dict(call.params), named[0].removesuffix("Name") + "Value"
        wanted = values(params, prefix)
        params = {k: v for k, v in params.items() if not k.startswith(prefix + ".")}
        tree = self.ask(call, "DescribeInstances")
        found = [
            i.findtext("instanceId") for i in tree.iterfind("reservationSet/item/instancesSet/item")
            if any(fnmatch.fnmatchcase(i.findtext("clientToken") or "", w) for w in wanted)
        ]
        params |= {f"{prefix}.{n}": v for n, v in enumerate(found or ["i-00000000000000000"], 1)}
        params[named[0]] = "instance-id"
        return call.with_params(call.action, params)

    def with_user_data(self, call):
        """moto takes the encoding off stored user data twice; it comes encoded once, which the SDKs do by themselves.
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_BlobAttributeValue.html"""
        data = call.params.get("UserData.Value")
        if call.action != "ModifyInstanceAttribute" or not data:
            return call
        return call.with_params(call.action, {**call.params, "UserData.Value": base64.b64encode(data.encode()).decode()})

    # --- launches

    def run_instances(self, call, effects):
        """Idempotent by token: per zone where the request names one, itself or by its subnet, else per region. A repeat
        gives the same instances in their present state; other parameters are an error, and so is a token whose instances
        have ended. https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html (RunInstances idempotency) and
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (IdempotentInstanceTerminated)"""
        place, token = self.place(call), call.params.get("ClientToken")
        if not 1 <= place["least"] <= place["most"]:
            raise Refusal(400, "InvalidParameterValue", f"Invalid value '{place['least']}' for minCount.")
        # The zone is part of what the token belongs to, not of what must be the same.
        asked = {k: v for k, v in call.params.items() if k not in ("ClientToken", "Placement.AvailabilityZone")}
        key = (call.region, place["zone"] if place["explicit"] else "", token)
        # One after the other: two with one token at a time must not both launch.
        with self.launching:
            if token and key in self.tokens:
                before, body = self.tokens[key]
                if before != asked:
                    raise Refusal(400, "IdempotentParameterMismatch", (
                        "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
                    ))
                return 200, "text/xml", self.replayed(call, body), "replayed for its client token"
            # moto launches MinCount; AWS as many as it can, up to MaxCount:
            # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html
            sent = {**call.params, "MinCount": place["most"], **self.root_volume(call)}
            status, headers, body = self.forward(call.with_params("RunInstances", sent))
            if status == 200:
                if token:
                    self.tokens[key] = asked, body
                body = self.after(call, effects, body)
        if status >= 500:
            return *error(501, "NotInMoto", f"moto answers {status} to RunInstances; see its log"), "moto failed"
        return status, headers.get("Content-Type", "text/xml"), body, "forwarded"

    def root_volume(self, call):
        """A root volume ends with its instance, unless the launch says otherwise; moto's stays.
        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configure-root-volume-delete-on-termination.html"""
        if not any(k.startswith("BlockDeviceMapping.") for k in call.params):
            return {}
        images = self.ask(call, "DescribeImages", ImageId_1=call.params.get("ImageId", ""))
        root = images.findtext("imagesSet/item/rootDeviceName")
        mappings = [k.removesuffix("DeviceName") for k, v in call.params.items() if k.startswith("BlockDeviceMapping.") and v == root]
        ends = {m + "Ebs.DeleteOnTermination": "true" for m in mappings if any(k.startswith(m + "Ebs.") for k in call.params)}
        return {k: v for k, v in ends.items() if k not in call.params}

    def interfaces_of(self, call, instances):
        """The first network interfaces of these, which end with them unless the launch said otherwise; moto's stay.
        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/scenarios-enis.html"""
        return [
            n.findtext("networkInterfaceId")
            for k, i in self.instances(call).items() if k in instances and k not in self.keeping
            for n in i.iterfind("networkInterfaceSet/item") if n.findtext("attachment/deviceIndex") == "0"
        ]

    def delete_interfaces(self, call, doomed):
        there = self.ask(call, "DescribeNetworkInterfaces").iterfind("networkInterfaceSet/item") if doomed else []
        for interface in {i.findtext("networkInterfaceId") for i in there} & set(doomed):
            self.ask(call, "DeleteNetworkInterface", NetworkInterfaceId=interface)

    def replayed(self, call, body):
        root, now = parse(body), self.ask(call, "DescribeInstances")
        states = {i.findtext("instanceId"): i.find("instanceState") for i in now.iterfind("reservationSet/item/instancesSet/item")}
        items = root.findall("instancesSet/item")
        if all(states[i.findtext("instanceId")].findtext("name") in GONE for i in items):
            raise Refusal(400, "IdempotentInstanceTerminated", (
                "The request to launch an instance uses the same client token as a previous request for which the instance has been terminated."
            ))
        for item in items:
            set_state(item, *[states[item.findtext("instanceId")].findtext(t) for t in ("code", "name")])
        return text(root)

    def fail_launches(self, call):
        """pending -> terminated, as https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html describes it."""
        if call.action not in ("DescribeInstances", "DescribeInstanceStatus"):
            return
        with self.lock:
            due = [k for k, late in self.failing.items() if not late.look()]
            rules = {k: self.failing.pop(k).rule for k in due}
        for instance, rule in rules.items():
            doomed = self.interfaces_of(call, [instance])
            self.ask(call, "TerminateInstances", InstanceId_1=instance)
            self.delete_interfaces(call, doomed)
            code = rule.get("code", "Server.InternalError")
            self.reasons[instance] = code, rule.get("message", f"{code}: Internal error on launch")

    # --- after

    def after(self, call, effects, body):
        """The body of a good answer, as the script and the state of things want it."""
        with self.lock:
            if call.action in MADE:
                made = [e.text for e in parse(body).iterfind(MADE[call.action])]
                if effects.hide:
                    self.hidden |= {k: Late(effects.hide) for k in made}
                if effects.slow_start:
                    self.starting |= {k: Late(effects.slow_start) for k in made}
                if effects.launch_fails:
                    rule = effects.launch_fails
                    self.failing |= {k: Late(rule) for k in made[: int(rule.get("count", len(made)))]}
                if call.params.get("InstanceMarketOptions.SpotOptions.SpotInstanceType") == "persistent":
                    self.persistent |= set(made)
                if call.params.get("NetworkInterface.1.DeleteOnTermination") == "false":
                    self.keeping |= set(made)
            if call.action == "TerminateInstances" and effects.slow_end:
                self.ending |= {k: Late(effects.slow_end) for k in values(call.params, "InstanceId")}
            return self.shown(call, body) if call.action in LISTS else body

    def shown(self, call, body):
        """A Describe answer without what is not visible yet, with the states of what starts, ends or failed."""
        body = self.images.shown(call, body)
        if not (self.hidden or self.starting or self.ending or self.failing or self.reasons):
            return body
        path, tag = LISTS[call.action]
        root = parse(body)
        verdicts = {}
        for parent in root.iterfind(path):
            for item in list(parent):
                key = item.findtext(tag)
                if key in self.hidden and verdicts.setdefault(key, self.hidden[key].look()):
                    parent.remove(item)
                elif call.action == "DescribeInstances":
                    self.restate(key, item)
        for reservation in list(root.iterfind("reservationSet/item")):
            if not reservation.findall("instancesSet/item"):
                root.find("reservationSet").remove(reservation)
        return text(root)

    def restate(self, key, item):
        if key in self.reasons and item.findtext("instanceState/name") in GONE:
            code, message = self.reasons[key]
            put(item, "reason", code)
            reason = put(item, "stateReason", "")
            put(reason, "code", code)
            put(reason, "message", message)
        elif key in self.ending:
            if item.findtext("instanceState/name") in GONE and self.ending[key].look():
                set_state(item, 32, "shutting-down")
        elif key in self.failing or (key in self.starting and self.starting[key].look()):
            if item.findtext("instanceState/name") == "running":
                set_state(item, 0, "pending")
