"""The bridge between the two emulators, the half inside ministack: a fake, and it says so.

ministack's auto-scaling groups hold instances that are nothing but names. With this in its process they are instances of moto,
and what CloudFormation does to a group happens to them:
  bridge_instances.py  runs and ends instances in moto, through the proxy; AWS::EC2::Instance in templates
  bridge_groups.py     auto-scaling groups have such instances; update policies and instance refreshes replace them
  bridge_balancer.py   DescribeTargetHealth of these instances
  bridge_database.py   secrets, protection and snapshots of databases; tags of caches
  bridge_changes.py    which properties need a new resource
  bridge_events.py     events that CloudFormation has besides; pages
  bridge_nested.py     change sets of nested stacks
  bridge_states.py     what is refused for the status a stack is in
  bridge_drift.py      drift of resources that ministack cannot read
  bridge_exists.py     what exists, and its tags
  bridge_control.py    what a test orders of stacks, resources, change sets, drift and targets

It claims that an instance exists in moto, tagged, when its group's resource is complete, and is gone when that is deleted. It
claims nothing about how long any of that takes in AWS: all is at once, or as long as a test says.
Started by aws_emulators.py, with the Python that has ministack. It ends when its stdin does.
"""

import os
import sys
import threading

import bridge_balancer
import bridge_changes
import bridge_control
import bridge_database
import bridge_drift
import bridge_exists
import bridge_groups
import bridge_instances
import bridge_nested
import bridge_states
import ministack.app


def main():
    def end():
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
    bridge_instances.install()
    bridge_groups.install()
    bridge_balancer.install()
    bridge_changes.install()
    bridge_database.install()
    bridge_drift.install()
    bridge_exists.install()
    bridge_nested.install()
    bridge_states.install()
    ministack.app.app = bridge_control.install(ministack.app.app)
    sys.argv[1:] = []
    ministack.app.main()


if __name__ == "__main__":
    main()
