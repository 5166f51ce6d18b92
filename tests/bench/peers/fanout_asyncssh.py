"""Connects to every host at once with asyncssh, runs `echo hi` on all, collects; further rounds use the same connections.

fanout_asyncssh.py FARM ROUNDS [plain | tuned | uvloop]

plain: as its manual shows it, with paths of key and known_hosts. tuned: both are read once, and the cheapest algorithms are
asked for. uvloop: tuned, on the faster event loop.
"""

import asyncio
import sys

import asyncssh


async def main(farm, rounds, how):
    hosts = open(f"{farm}/hosts").read().split()
    port = int(open(f"{farm}/sshd_config").readline().split()[1])
    options = {"port": port, "username": "root", "client_keys": [f"{farm}/client"], "known_hosts": f"{farm}/known_hosts"}
    if how != "plain":
        options |= {
            "client_keys": [asyncssh.read_private_key(f"{farm}/client")],
            "known_hosts": asyncssh.read_known_hosts(f"{farm}/known_hosts"),
            "agent_path": None,
            "config": None,
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


farm, rounds, how = sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "plain"
if how == "uvloop":
    import uvloop

    uvloop.run(main(farm, rounds, how))
else:
    asyncio.run(main(farm, rounds, how))
