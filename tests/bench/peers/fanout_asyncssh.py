"""Connects to every host at once with asyncssh, runs `echo hi` on all, collects; further rounds use the same connections.

fanout_asyncssh.py FARM ROUNDS [uvloop]
"""

import asyncio
import sys

import asyncssh


async def main(farm, rounds):
    hosts = open(f"{farm}/hosts").read().split()
    key = asyncssh.read_private_key(f"{farm}/client")
    known = asyncssh.read_known_hosts(f"{farm}/known_hosts")
    port = int(open(f"{farm}/sshd_config").readline().split()[1])
    options = {
        "port": port,
        "username": "root",
        "client_keys": [key],
        "known_hosts": known,
        "agent_path": None,
        "config": None,
        # What makes asyncssh fastest: no hybrid key exchange, AES in hardware, no compression.
        "kex_algs": ["curve25519-sha256"],
        "encryption_algs": ["aes128-gcm@openssh.com"],
        "compression_algs": None,
    }
    connections = []

    async def first(host):
        connection = await asyncssh.connect(host, **options)
        connections.append(connection)
        return await connection.run("echo hi")

    def check(results):
        said = [r.stdout for r in results]
        if said != ["hi\n"] * len(hosts):
            sys.exit(f"not every host said hi: {said}")

    check(await asyncio.gather(*map(first, hosts)))
    for _ in range(rounds - 1):
        check(await asyncio.gather(*(c.run("echo hi") for c in connections)))
    for connection in connections:
        connection.close()


if len(sys.argv) > 3:
    import uvloop

    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
else:
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
