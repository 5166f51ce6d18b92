"""The script of the proxy: which calls meet which fault.

A rule is a map. Which calls it is about:
  action  "RunInstances", "Describe*", "*", or a list of these (default: every call that it can happen to)
  service "cloudformation", "ec2", "s3"…, as a pattern
  zone, type, market ("spot" | "on-demand")     of a RunInstances, as patterns
  where   {"Filter.1.Value.1": "a*"}            further parameters, as patterns
  after n (not the first n of these), first n (only n of them, after those), every k (the k-th, the 2k-th…)
What happens to them, in `do`:
  error         code, message, status (400)
  throttle      RequestLimitExceeded; of other services than EC2 Throttling, "Rate exceeded"
  deny          UnauthorizedOperation, for dry runs too; of other services AccessDenied
  expired       the credentials are not valid any more: ExpiredToken; of EC2 RequestExpired
  capacity      InsufficientInstanceCapacity when more are asked for than `available` (0), which they use up
  quota         VcpuLimitExceeded, or MaxSpotInstanceCountExceeded for spot
  drop          the connection is closed, and nothing was done;   lose: all was done, and the connection is closed
  wait          seconds, before anything else
  hide          what the call makes is in no Describe answer that would show it: `describes` of them, or `seconds` long; of
                CloudFormation: stacks (CreateStack, CreateChangeSet) and change sets
  slow_start    its instances stay pending, `describes` answers or `seconds` long;   slow_end: they stay shutting-down
  page          a Describe gives no more than `most` at once, and a token for the rest; of CloudFormation also a List
  slow_image    a new image stays pending, `describes` answers (without a rule: 1) or `seconds` long;   image_fails: then it is
                failed, with `code`, `message`
  launch_fails  its instances (or `count` of them) are pending for `describes` (1) answers, then terminated with `code`, `message`
"""

import fnmatch
import threading

KEPT = ("hide", "slow_start", "slow_end", "launch_fails", "page", "slow_image", "image_fails")
DOES = ["error", "throttle", "deny", "expired", "capacity", "quota", "drop", "lose", "wait", *KEPT]
# What can only happen to launches, or to ends.
ONLY = dict.fromkeys(["capacity", "quota", "slow_start", "launch_fails"], "RunInstances") | {"slow_end": "TerminateInstances"}
ONLY |= dict.fromkeys(["slow_image", "image_fails"], "CreateImage")
KEYS = {"action", "service", "zone", "type", "market", "where", "after", "first", "every", "do", "code", "message", "status"}
KEYS |= {"available", "seconds", "describes", "count", "most"}


class Effects:
    """What the rules say of one call."""

    def __init__(self):
        self.error, self.drop, self.lose, self.waits = None, False, False, []
        vars(self).update(dict.fromkeys(KEPT))


class Rule:
    def __init__(self, text):
        unknown = set(text) - KEYS
        if unknown or text.get("do") not in DOES:
            raise ValueError(f"no such rule: {text} (unknown: {sorted(unknown)}; do: one of {' '.join(DOES)})")
        if text["do"] == "error" and "code" not in text:
            raise ValueError(f"an error needs a code: {text}")
        self.text, self.seen, self.available = text, 0, int(text.get("available", 0))

    def meets(self, call, place):
        text = self.text
        actions = text.get("action", ONLY.get(text["do"], "*"))
        actions = actions if isinstance(actions, list) else [actions]
        # Who creates something with tags needs CreateTags as well:
        # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html
        tagged = text["do"] == "deny" and "CreateTags" in actions and "TagSpecification.1.ResourceType" in call.params
        if not tagged and not any(fnmatch.fnmatchcase(call.action, a) for a in actions):
            return False
        if not fnmatch.fnmatchcase(call.service, text.get("service", "*")):
            return False
        for key in ("zone", "type", "market"):
            if key in text and not fnmatch.fnmatchcase(place.get(key, ""), text[key]):
                return False
        if not all(fnmatch.fnmatchcase(call.params.get(k, ""), v) for k, v in text.get("where", {}).items()):
            return False
        # What a dry run says is whether the caller may: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html
        if call.dry_run and text["do"] not in ("deny", "throttle", "expired", "wait", "drop", "lose"):
            return False
        self.seen += 1
        n = self.seen - int(text.get("after", 0))
        return n > 0 and n <= int(text.get("first", n)) and n % int(text.get("every", 1)) == 0

    def error(self, call, place):
        """(status, code, message), or nothing if the call may pass."""
        text, do = self.text, self.text["do"]
        spot = place.get("market") == "spot"
        # Codes and wording: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
        if do == "error":
            status, code, message = text.get("status", 400), text["code"], f"{text['code']} (scripted)"
        elif do == "throttle":
            status, code, message = 503, "RequestLimitExceeded", "Request limit exceeded."
            if call.service != "ec2":
                # https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/CommonErrors.html
                status, code, message = 400, "Throttling", "Rate exceeded"
        elif do == "expired":
            status, code, message = 403, "ExpiredToken", "The security token included in the request is expired"
            if call.service == "ec2":
                status, code, message = 400, "RequestExpired", "Request has expired."
        elif do == "deny":
            status, code = 403, "UnauthorizedOperation" if call.service == "ec2" else "AccessDenied"
            denied = text.get("action", call.action)
            denied = denied if isinstance(denied, str) and denied.isalpha() else call.action
            message = f"User: arn:aws:iam::123456789012:user/lab is not authorized to perform: {call.service or 'ec2'}:{denied}"
            message = f"You are not authorized to perform this operation. {message}" if call.service == "ec2" else message
        elif do == "capacity":
            if place.get("most", 0) <= self.available:
                self.available -= place.get("most", 0)
                return None
            kind, zone = place.get("type"), place.get("zone")
            status, code = 500, "InsufficientInstanceCapacity"
            message = f"We currently do not have sufficient {kind} capacity in the Availability Zone you requested ({zone})."
            if spot:
                message = "There is no Spot capacity available that matches your request."
        else:
            status, code, message = 400, "VcpuLimitExceeded", (
                "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket that the "
                "specified instance type belongs to."
            )
            if spot:
                code, message = "MaxSpotInstanceCountExceeded", "Max spot instance count exceeded"
        return status, code, text.get("message", message)


class Rules:
    def __init__(self, rules):
        if not isinstance(rules, list):
            raise ValueError("a script is a list of rules")
        self.rules, self.lock = [Rule(r) for r in rules], threading.Lock()

    def effects(self, call, place):
        effects = Effects()
        with self.lock:
            for rule in self.rules:
                if not rule.meets(call, place):
                    continue
                do = rule.text["do"]
                if do == "wait":
                    effects.waits.append(float(rule.text.get("seconds", 0)))
                elif do in ("drop", "lose"):
                    setattr(effects, do, True)
                elif do in KEPT:
                    setattr(effects, do, rule.text)
                elif effects.error is None:
                    effects.error = rule.error(call, place)
        return effects
