"""Object storage on this machine: moto, Azurite, Ceph, and a server that ignores conditions.

Each is a context manager that starts a real server as a process of its own, waits until it answers,
makes a place for studies in it, and ends exactly what it has started.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

BUCKET = "tuneflow-tests"
PATIENCE = 60.0
NODE_PACKAGES = {"azurite-blob": "azurite@3.35.0", "s3rver": "s3rver@3.7.1"}
CEPH_PACKAGES = {
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
    "ceph": "ceph-common",
    "radosgw": "radosgw",
}


@dataclass(frozen=True)
class Server:
    """Object storage that answers.

    Attributes:
        url: where studies may be, as ``s3://BUCKET`` or ``az://CONTAINER``; nothing is in it.
        env: the environment variables with which it is reached.
        endpoint: its address.
        processes: what was started for it, by name.
    """

    url: str
    env: dict[str, str]
    endpoint: str
    processes: dict[str, subprocess.Popen] = field(default_factory=dict)

    def new_url(self):
        """Return a URL of it below which nothing is stored."""
        return f"{self.url}/{uuid.uuid4().hex}"


def free_port():
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def s3_env(endpoint, key="dummy-access-key", secret="dummy-secret-key"):
    """Return the environment variables for an S3 server, and none of this machine's own."""
    return {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": "/no/credentials",
        "AWS_CONFIG_FILE": "/no/config",
    }


@contextmanager
def moto(port=0):
    """An S3 server that comes with Python and honours conditions; it needs about 3 seconds."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, stderr=subprocess.PIPE, text=True) as server:
        said = []
        for line in server.stderr:
            said.append(line)
            if found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", line):
                break
        else:
            raise AssertionError("moto did not start: " + "".join(said)[-2000:])
        # The server would block as soon as nobody reads what it logs.
        threading.Thread(target=server.stderr.read, daemon=True).start()
        endpoint = found.group(1)
        _request("PUT", f"{endpoint}/{BUCKET}")
        yield Server(f"s3://{BUCKET}", s3_env(endpoint), endpoint, {"moto": server})


@contextmanager
def ignoring_server():
    """An S3 server that answers conditional writes and ignores the condition: s3rver."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        endpoint = f"http://127.0.0.1:{(port := free_port())}"
        options = ("--address", "127.0.0.1", "--port", str(port), "--directory", folder, "--silent")
        bucket = ("--configure-bucket", BUCKET)
        command = [node_program("s3rver"), *options, *bucket]
        server = stack.enter_context(
            _running(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
        _await(endpoint, server, "s3rver")
        yield Server(f"s3://{BUCKET}", s3_env(endpoint, "S3RVER", "S3RVER"), endpoint)


@contextmanager
def azurite():
    """Azure's blob storage as its makers emulate it; it needs about 3 seconds."""
    account, key = "tuneflow", base64.b64encode(secrets.token_bytes(64)).decode()
    endpoint = f"http://127.0.0.1:{(port := free_port())}"
    options = ("--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence")
    command = [
        node_program("azurite-blob"),
        *options,
        "--skipApiVersionCheck",
        "--disableTelemetry",
    ]
    env = {**os.environ, "AZURITE_ACCOUNTS": f"{account}:{key}"}
    with _running(command, stdout=subprocess.DEVNULL, env=env) as server:
        _await(endpoint, server, "azurite")
        _make_container(endpoint, account, key)
        settings = {
            "AZURE_STORAGE_ACCOUNT_NAME": account,
            "AZURE_STORAGE_ACCOUNT_KEY": key,
            "AZURE_STORAGE_ENDPOINT": f"{endpoint}/{account}",
            "AZURE_ALLOW_HTTP": "true",
        }
        yield Server(f"az://{BUCKET}", settings, endpoint, {"azurite": server})


def _make_container(endpoint, account, key):
    """Make a container, which object stores' clients do not: with a signature of Azure's kind."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
    resource = f"/{account}/{account}/{BUCKET}\nrestype:container"
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    signed = "PUT" + "\n" * 12 + lines + resource
    digest = hmac.digest(base64.b64decode(key), signed.encode(), hashlib.sha256)
    headers["Authorization"] = f"SharedKey {account}:{base64.b64encode(digest).decode()}"
    _request("PUT", f"{endpoint}/{account}/{BUCKET}?restype=container", headers)


@contextmanager
def ceph():
    """Ceph's object gateway before one monitor and one store in memory; it needs 12 seconds.

    A real one: what is written to it goes through RADOS. Its memory grows with what is written.
    """
    _need_ceph()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ceph-")))
        made = _Ceph(folder)
        processes = made.start(stack)
        key, secret = secrets.token_hex(10), secrets.token_hex(20)
        made.run(
            *("radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests"),
            *(f"--access-key={key}", f"--secret={secret}"),
        )
        env = s3_env(made.endpoint, key, secret)
        _make_bucket(made.endpoint, key, secret)
        yield Server(f"s3://{BUCKET}", env, made.endpoint, processes)


def _need_ceph():
    missing = [package for name, package in CEPH_PACKAGES.items() if shutil.which(name) is None]
    if missing:
        words = " ".join(missing)
        raise RuntimeError(
            f"Ceph is missing: apt-get install --no-install-recommends {words} (as root)"
        )


_CEPH_CONF = """
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{port}/0]
ms_bind_msgr1 = false
public_addr = 127.0.0.1
public_network = 127.0.0.0/8
cluster_network = 127.0.0.0/8
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = {folder}/keyring
run_dir = {folder}
admin_socket = {folder}/$name.asok
log_file = {folder}/$name.log
mon_cluster_log_file = {folder}/cluster.log
pid_file = {folder}/$name.pid
crash_dir = {folder}
osd_objectstore = memstore
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_data = {folder}/mon
osd_data = {folder}/osd
memstore_device_bytes = 8589934592
rgw_gc_obj_min_wait = 1
rgw_gc_processor_period = 5
rgw_gc_processor_max_time = 5
rgw_lc_debug_interval = -1
rgw_enable_usage_log = false
"""


class _Ceph:
    """The parts of a Ceph cluster, in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{free_port()}"
        self.conf = folder / "ceph.conf"
        fsid = str(uuid.uuid4())
        self.conf.write_text(_CEPH_CONF.format(fsid=fsid, folder=folder, port=self.port))
        (folder / "mon").mkdir()
        (folder / "osd").mkdir()
        self._make_keys()
        self.run(
            "monmaptool",
            "--create",
            "--fsid",
            fsid,
            "--addv",
            "a",
            f"[v2:127.0.0.1:{self.port}/0]",
            folder / "monmap",
        )

    def _make_keys(self):
        keys = self.folder / "keyring"
        every = ("mon", "osd", "mgr", "mds")
        allowed = {
            "mon.": {"mon": "allow *"},
            "client.admin": dict.fromkeys(every, "allow *"),
            "osd.0": {"mon": "allow profile osd", "osd": "allow *"},
            "client.rgw": {"mon": "allow rwx", "osd": "allow rwx"},
        }
        self.run("ceph-authtool", "--create-keyring", keys)
        for name, caps in allowed.items():
            words = [word for daemon, cap in caps.items() for word in ("--cap", daemon, cap)]
            self.run("ceph-authtool", keys, "--gen-key", "-n", name, *words)

    def start(self, stack):
        """Start the monitor, the store and the gateway, each once the one before is there."""
        keys = self.folder / "keyring"
        self.run(
            "ceph-mon", "--mkfs", "-i", "a", "--monmap", self.folder / "monmap", "--keyring", keys
        )
        started = {"mon": self._daemon(stack, "ceph-mon", "-i", "a")}
        self.run("ceph", "--connect-timeout", "30", "auth", "import", "-i", keys)
        self.run("ceph", "osd", "new", (one := str(uuid.uuid4())), "0")
        self.run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", one)
        started["osd"] = self._daemon(stack, "ceph-osd", "-i", "0")
        front = f"beast endpoint={self.endpoint.removeprefix('http://')} tcp_nodelay=1"
        started["rgw"] = self._daemon(
            stack, "radosgw", "-n", "client.rgw", "--rgw_frontends", front
        )
        _await(self.endpoint, started["rgw"], "radosgw")
        return started

    def _daemon(self, stack, program, *options):
        with (self.folder / f"{program}.out").open("w") as log:
            command = [program, "-f", "-c", str(self.conf), *options]
            return stack.enter_context(_running(command, stdout=log, stderr=log))

    def run(self, program, *arguments):
        """Run one of Ceph's commands to its end."""
        words = [str(argument) for argument in arguments]
        where = [] if program in {"ceph-authtool", "monmaptool"} else ["-c", str(self.conf)]
        done = subprocess.run(
            [program, *where, *words], capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        assert done.returncode == 0, f"{program} {' '.join(words)}: {done.stderr[-2000:]}"


def _make_bucket(endpoint, key, secret):
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET)
    client.close()


def node_program(name):
    """Return the path of a program that npm has, which is installed once and kept."""
    package = NODE_PACKAGES[name]
    root = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "tuneflow-tests"
    home = root / package.replace("@", "-")
    program = home / "node_modules" / ".bin" / name
    home.mkdir(parents=True, exist_ok=True)
    # Tests run in several processes.
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _install(package, home, name)
    return str(program)


def _install(package, home, name):
    if shutil.which("npm") is None:
        raise RuntimeError(f"{name} needs Node.js and npm: apt-get install nodejs npm")
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    command = ["npm", "install", *quiet, "--prefix", str(home), package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"npm install {package} failed: {done.stderr[-1000:]}")


@contextmanager
def _running(command, **options):
    """A process of its own group that is gone afterwards, with all it has started."""
    started = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def _await(endpoint, server, name):
    """Wait until a server answers anything."""
    deadline = time.monotonic() + PATIENCE
    while True:
        assert server.poll() is None, f"{name} ended with {server.returncode} instead of serving"
        assert time.monotonic() < deadline, f"{name} did not answer within {PATIENCE:g} s"
        with suppress(OSError):
            # An error that it answers is an answer.
            with suppress(urllib.error.HTTPError):
                urllib.request.urlopen(endpoint, timeout=5).close()
            return
        time.sleep(0.05)


def _request(method, url, headers=None):
    asked = urllib.request.Request(url, method=method, headers=headers or {})
    urllib.request.urlopen(asked, timeout=30).close()
