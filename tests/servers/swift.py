"""A private S3 server: OpenStack Swift with its s3api, one replica in one folder.

Swift checks signatures and expiry dates as the real thing does, which the usual in-memory
imitations do not. It needs no memcached (a dead address is configured) and no root.
"""

from __future__ import annotations

import getpass
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import boto3

from tests.servers.process import ServerProcess, accepts_connections, free_port

ROLES = ("account", "container", "object", "proxy")
DEAD_PORT = 1
PROXY_PIPELINE = (
    "catch_errors gatekeeper healthcheck cache listing_formats bulk tempurl s3api tempauth copy "
    "slo dlo versioned_writes symlink proxy-server"
)
# Everything in the pipeline that needs no configuration of its own.
PLAIN_FILTERS = sorted({*PROXY_PIPELINE.split()} - {"cache", "s3api", "tempauth", "proxy-server"})
SWIFT_CONF = """\
[swift-hash]
swift_hash_path_suffix = test
[storage-policy:0]
name = only
default = yes
"""
SERVER_CONF = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
fallocate_reserve = 0
log_address = {folder}/no-syslog
log_level = WARNING
[pipeline:main]
pipeline = {pipeline}
"""
PROXY_CONF = """\
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{dead_port}
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = {region}
min_segment_size = 1048576
[filter:tempauth]
use = egg:swift#tempauth
user_{user} = {secret} .admin
"""
# In a process of its own: importing Swift changes how Python's threads and sockets work.
BUILD_RINGS = """
import sys
from swift.common.ring import RingBuilder
for ring in sys.argv[2:]:
    role, port = ring.split(":")
    builder = RingBuilder(0, 1, 0)
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1, "ip": "127.0.0.1",
                     "port": int(port), "device": "d1", "meta": ""})
    builder.rebalance()
    builder.get_ring().save(f"{sys.argv[1]}/{role}.ring.gz")
"""


class SwiftServer:
    """Four processes: account, container and object server, and the proxy that speaks S3."""

    region = "us-east-1"
    access_key = "test:tester"
    secret_key = "testing-secret"  # noqa: S105 - of a server that lives on the loopback for seconds

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = {role: free_port() for role in ROLES}
        self._processes: list[ServerProcess] = []
        (folder / "devices" / "d1").mkdir(parents=True)
        (folder / "swift.conf").write_text(SWIFT_CONF)
        for role in ROLES:
            (folder / f"{role}.conf").write_text(self._configuration(role))
        rings = [f"{role}:{self._ports[role]}" for role in ROLES[:-1]]
        build = [sys.executable, "-W", "ignore", "-c", BUILD_RINGS, str(folder), *rings]
        subprocess.run(build, check=True, capture_output=True)
        self.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['proxy']}"

    def start(self) -> None:
        for role in ROLES:
            script = str(Path(sys.executable).parent / f"swift-{role}-server")
            configuration = str(self.folder / f"{role}.conf")
            command = [sys.executable, "-W", "ignore", script, configuration]
            self._processes.append(ServerProcess(command, log=self.folder / f"{role}.log"))
        for process, port in zip(self._processes, self._ports.values(), strict=True):
            process.wait_until(lambda port=port: accepts_connections(port))  # type: ignore[misc]
        self._processes[-1].wait_until(self._is_healthy)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.kill()
        self._processes.clear()

    def new_bucket(self, name: str) -> str:
        """Create a bucket, through Amazon's own client, and return its name."""
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )
        client.create_bucket(Bucket=name)
        client.close()
        return name

    def _is_healthy(self) -> bool:
        try:
            with urlopen(f"{self.endpoint}/healthcheck", timeout=5) as response:  # noqa: S310
                return bool(response.status == 200)
        except URLError:
            return False

    def _configuration(self, role: str) -> str:
        proxy = role == "proxy"
        head = SERVER_CONF.format(
            port=self._ports[role],
            user=getpass.getuser(),
            folder=self.folder,
            pipeline=PROXY_PIPELINE if proxy else f"{role}-server",
        )
        if not proxy:
            return f"{head}[app:{role}-server]\nuse = egg:swift#{role}\n"
        filters = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in PLAIN_FILTERS)
        return (
            head
            + filters
            + PROXY_CONF.format(
                dead_port=DEAD_PORT,
                region=self.region,
                user=self.access_key.replace(":", "_"),
                secret=self.secret_key,
            )
        )
