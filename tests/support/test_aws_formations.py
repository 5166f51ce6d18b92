"""The formations that come with opsrun, as one stack against the bridge.

Run by tests/aws_proxy.rs, with AWS_ENDPOINT_URL naming the proxy and TEMPLATE the merged template.
"""

import os
import pathlib
import unittest

from test_aws_bridge import REGION, Case, client, control

BODY = pathlib.Path(os.environ["TEMPLATE"]).read_text()
PARAMETERS = {"App": "shop", "Env": "staging", "AllowSshFrom": "203.0.113.7/32", "WebUserData": "aGVsbG8="}


class Formations(Case):
    def change(self, kind, **more):
        """The changes of a change set that was executed: logical id -> replacement."""
        given = [{"ParameterKey": k, "ParameterValue": v} for k, v in (PARAMETERS | more).items()]
        made = self.stacks.create_change_set(StackName="s", ChangeSetName=kind.lower(), ChangeSetType=kind, TemplateBody=BODY, Parameters=given)
        changes = self.stacks.describe_change_set(ChangeSetName=made["Id"])["Changes"]
        self.stacks.execute_change_set(ChangeSetName=made["Id"])
        status = self.settled()
        failed = [e for e in self.events() if e[1].endswith("FAILED")]
        self.assertEqual((status, failed), (f"{kind}_COMPLETE", []))
        return {c["ResourceChange"]["LogicalResourceId"]: c["ResourceChange"].get("Replacement") for c in changes}

    def test_up_round_and_down(self):
        made = self.change("CREATE", WebImage=self.image)
        done = {e[0] for e in self.events() if e[1] == "CREATE_COMPLETE"} - {"s"}
        self.assertEqual(done, set(made))
        outputs = {o["OutputKey"]: o["OutputValue"] for o in self.stacks.describe_stacks(StackName="s")["Stacks"][0]["Outputs"]}
        secret = client("secretsmanager").get_secret_value(SecretId=outputs["DatabaseSecret"])["SecretString"]
        self.assertIn('"username": "app"', secret)
        health = client("elbv2").describe_target_health(TargetGroupArn=outputs["WebTargets"])["TargetHealthDescriptions"]
        self.assertEqual({t["Target"]["Id"] for t in health}, set(self.instances()))
        # All that the formations can give tags to says whose it is.
        things = [r for r in control(f"resources?region={REGION}") if r["tags"].get("Env") != "staging"]
        self.assertEqual({r["kind"] for r in things}, {"listener", "network interface", "secret", "stack"})
        self.assertEqual(self.change("UPDATE", WebImage=self.other), {"WebGroup": "False", "WebTemplate": "False"})
        self.assertEqual({i["ImageId"] for i in self.instances().values()}, {self.other})
        self.assertEqual(self.delete(), "DELETE_COMPLETE")
        left = control(f"resources?region={REGION}")
        self.assertEqual([(r["kind"], r["tags"]["Env"]) for r in left], [("DB snapshot", "staging")])


if __name__ == "__main__":
    unittest.main(defaultTest="Formations")
