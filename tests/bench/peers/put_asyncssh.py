"""Copies one file to the first N hosts at once with asyncssh's SFTP.  put_asyncssh.py FARM FILE FOLDER N"""

import asyncio
import sys

import asyncssh
import uvloop


async def main(farm, file, folder, count):
    hosts = open(f"{farm}/hosts").read().split()[:count]
    port = int(open(f"{farm}/sshd_config").readline().split()[1])

    async def put(host):
        async with asyncssh.connect(
            host,
            port=port,
            username="root",
            client_keys=[f"{farm}/client"],
            known_hosts=f"{farm}/known_hosts",
            agent_path=None,
            config=None,
            encryption_algs=["aes128-gcm@openssh.com"],
        ) as connection:
            async with connection.start_sftp_client() as sftp:
                await sftp.put(file, f"{folder}/{host}")

    await asyncio.gather(*map(put, hosts))


uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
