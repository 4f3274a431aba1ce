"""A bare client of remote execution and a worker that does nothing: what an engine costs by itself.

Runs in BuildGrid's own environment, whose wheel brings the generated messages:

    target/reapi/buildgrid-*/bin/python tests/reapi/client.py COMMAND ADDRESS[/INSTANCE] [ARGUMENT...]

`worker` answers leases at once until it is ended, `runner` does what they say, as an engine's own worker does: the input
root as files, the command in it, its outputs into the CAS. The others print one line of JSON.
"""

import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import grpc
from buildgrid._protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re
from buildgrid._protos.build.bazel.remote.execution.v2 import remote_execution_pb2_grpc as re_grpc
from buildgrid._protos.google.bytestream import bytestream_pb2, bytestream_pb2_grpc
from buildgrid._protos.google.devtools.remoteworkers.v1test2 import bots_pb2, bots_pb2_grpc, worker_pb2
from google.protobuf.any_pb2 import Any

MIB = 1 << 20


def digest_of(data):
    return re.Digest(hash=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


class Client:
    def __init__(self, target):
        address, _, self.instance = target.partition("/")
        big = [("grpc.max_receive_message_length", 64 * MIB), ("grpc.use_local_subchannel_pool", 1)]
        ca = os.environ.get("CLIENT_CA")
        if ca:
            with open(ca, "rb") as file:
                self.channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()), options=big)
        else:
            self.channel = grpc.insecure_channel(address, options=big)
        self.cas = re_grpc.ContentAddressableStorageStub(self.channel)
        self.exe = re_grpc.ExecutionStub(self.channel)
        self.ac = re_grpc.ActionCacheStub(self.channel)
        self.bytes = bytestream_pb2_grpc.ByteStreamStub(self.channel)

    def metadata(self):
        """What proves who asks: a token from the file that CLIENT_TOKEN names."""
        path = os.environ.get("CLIENT_TOKEN")
        if not path:
            return ()
        with open(path) as file:
            return (("authorization", f"Bearer {file.read().strip()}"),)

    def missing(self, digests):
        return list(self.cas.FindMissingBlobs(re.FindMissingBlobsRequest(instance_name=self.instance, blob_digests=digests), metadata=self.metadata()).missing_blob_digests)

    def put(self, blobs, limit=4 * MIB - (64 << 10)):
        """Uploads small blobs, in batches."""
        batch, size = [], 0
        for data in [*blobs, None]:
            if batch and (data is None or size + len(data) + 120 > limit):
                done = self.cas.BatchUpdateBlobs(re.BatchUpdateBlobsRequest(instance_name=self.instance, requests=batch), metadata=self.metadata())
                bad = [r.status for r in done.responses if r.status.code]
                assert not bad, bad[:3]
                batch, size = [], 0
            if data is not None:
                batch.append(re.BatchUpdateBlobsRequest.Request(digest=digest_of(data), data=data))
                size += len(data) + 120

    def write(self, data, piece=MIB):
        digest = digest_of(data)
        head = f"{self.instance}/" if self.instance else ""
        name = f"{head}uploads/{uuid.uuid4()}/blobs/{digest.hash}/{digest.size_bytes}"

        def pieces():
            for at in range(0, len(data), piece):
                part = data[at : at + piece]
                yield bytestream_pb2.WriteRequest(resource_name=name, write_offset=at, data=part, finish_write=at + len(part) == len(data))

        done = self.bytes.Write(pieces(), metadata=self.metadata())
        assert done.committed_size == len(data), done
        return digest

    def store(self, data):
        """A blob of any size."""
        return self.put([data]) if len(data) < 3 * MIB else self.write(data)

    def read(self, digest):
        if not digest.size_bytes:
            return b""
        head = f"{self.instance}/" if self.instance else ""
        name = f"{head}blobs/{digest.hash}/{digest.size_bytes}"
        data = b"".join(r.data for r in self.bytes.Read(bytestream_pb2.ReadRequest(resource_name=name), metadata=self.metadata()))
        assert digest_of(data) == digest
        return data

    def action(self, words=("true",), salt=b"", files=(), outputs=(), **more):
        """Uploads an action of its own; gives its digest. Files are (name, data, executable)."""
        names = [re.FileNode(name=n, digest=digest_of(d), is_executable=x) for n, d, x in sorted(files)]
        root = re.Directory(files=names).SerializeToString()
        platform = re.Platform(properties=[re.Platform.Property(name="OSFamily", value="linux")])
        command = re.Command(arguments=list(words), output_paths=list(outputs), platform=platform).SerializeToString()
        action = re.Action(command_digest=digest_of(command), input_root_digest=digest_of(root), salt=salt, platform=platform, **more)
        action = action.SerializeToString()
        self.put([root, command, action, *[d for _, d, _ in files]])
        return digest_of(action)

    def execute(self, action, skip=True):
        """Runs an action to its end; gives the response."""
        last = None
        for last in self.exe.Execute(re.ExecuteRequest(instance_name=self.instance, action_digest=action, skip_cache_lookup=skip)):
            pass
        assert last.done, last
        response = re.ExecuteResponse()
        assert last.response.Unpack(response), last
        return response


def timed(work):
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def trivial(client, how):
    """An action of its own that does nothing; with `busybox` or `runner` it brings the program, for those that really run it."""
    if not how:
        return client.action(salt=os.urandom(8))
    with open("/bin/busybox", "rb") as file:
        return client.action(words=["./true" if how == "runner" else "/true"], salt=os.urandom(8), files=[("true", file.read(), True)])


def floor_trivial(client, times="20", how=""):
    """Trivial actions one after the other: the median."""
    took = []
    for _ in range(int(times)):
        action = trivial(client, how)

        def run():
            response = client.execute(action)
            assert response.status.code == 0 and response.result.exit_code == 0, response
        took.append(timed(run))
    return {"seconds": sorted(took)[len(took) // 2], "least": min(took)}


def floor_queued(client, count="1000", how=""):
    """So many trivial actions, all sent before the first is waited for."""
    count = int(count)
    actions = [trivial(client, how) for _ in range(count)]

    def run():
        streams = [client.exe.Execute(re.ExecuteRequest(instance_name=client.instance, action_digest=a, skip_cache_lookup=True)) for a in actions]
        done = 0
        for stream in streams:
            for last in stream:
                pass
            response = re.ExecuteResponse()
            assert last.done and last.response.Unpack(response) and response.status.code == 0, last
            done += 1
        assert done == count

    return {"seconds": timed(run)}


def floor_missing(client, counts="40 400 4000 9230"):
    """FindMissingBlobs of so many digests."""
    found = {}
    for count in map(int, counts.split()):
        digests = [digest_of(b"%d" % n) for n in range(count)]
        client.missing(digests)
        found[str(count)] = sorted(timed(lambda: client.missing(digests)) for _ in range(5))[2]
    return found


def floor_bytes(client, mib="100"):
    """So many MiB up and down, as one blob and as pieces of 16 MiB, four at once."""
    data = os.urandom(int(mib) * MIB)
    found = {}
    digest = digest_of(data)
    found["up"] = timed(lambda: client.write(data))
    found["down"] = timed(lambda: client.read(digest))
    data = os.urandom(int(mib) * MIB)
    parts = [data[at : at + 16 * MIB] for at in range(0, len(data), 16 * MIB)]
    digests = [digest_of(part) for part in parts]
    found["up_pieces"] = timed(lambda: together(client.write, parts))
    found["down_pieces"] = timed(lambda: together(client.read, digests))
    return found


def together(work, items, width=4):
    items, lock, failed = list(items), threading.Lock(), []

    def some():
        while True:
            with lock:
                if not items or failed:
                    return
                item = items.pop(0)
            try:
                work(item)
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=some) for _ in range(width)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]


def floor_small(client, count="10000", size="2048"):
    """So many small blobs up in batches, and down in batches."""
    blobs = [os.urandom(int(size)) for _ in range(int(count))]
    digests = [digest_of(b) for b in blobs]
    up = timed(lambda: client.put(blobs))

    def down():
        step = (4 * MIB - (64 << 10)) // (int(size) + 120)
        for at in range(0, len(digests), step):
            asked = re.BatchReadBlobsRequest(instance_name=client.instance, digests=digests[at : at + step])
            for part in client.cas.BatchReadBlobs(asked).responses:
                assert part.status.code == 0 and len(part.data) == int(size), part.status

    return {"up": up, "down": timed(down)}


def one(client, how=""):
    """One action through the engine; what came back."""
    response = client.execute(trivial(client, how))
    return {"status": response.status.code, "exit": response.result.exit_code, "message": response.status.message}


def floor_kept(client, *actions):
    """What the action cache has for actions (HASH/SIZE): the exit statuses."""
    found = {}
    for action in actions:
        name, _, size = action.partition("/")
        digest = re.Digest(hash=name, size_bytes=int(size))
        try:
            found[action] = client.ac.GetActionResult(re.GetActionResultRequest(instance_name=client.instance, action_digest=digest)).exit_code
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
    return found


class Task:
    """A lease that is carried out: its action in a folder of its own. Knows nothing of mstore."""

    def __init__(self, client, lease):
        self.client, self.lease = client, lease
        self.child, self.over, self.result, self.status = None, False, None, 0
        self.lock = threading.Lock()
        threading.Thread(target=self.work, daemon=True).start()

    def work(self):
        top = tempfile.mkdtemp(prefix="mstore-runner-", dir="/var/tmp")
        try:
            self.result = self.run(top)
        except grpc.RpcError as error:
            gone = error.code() == grpc.StatusCode.NOT_FOUND
            self.status = grpc.StatusCode.FAILED_PRECONDITION.value[0] if gone else grpc.StatusCode.UNAVAILABLE.value[0]
        except OSError:
            self.status = grpc.StatusCode.INTERNAL.value[0]
        finally:
            shutil.rmtree(top, ignore_errors=True)
            self.over = True

    def run(self, top):
        client, action = self.client, re.Action()
        assert self.lease.payload.Unpack(action), self.lease.payload
        command = re.Command.FromString(client.read(action.command_digest))
        root = os.path.join(top, "root")
        os.mkdir(root)
        stage(client, action.input_root_digest, root)
        with open(f"{top}/err", "w+b") as err:
            with self.lock:
                if self.over:
                    return None
                self.child = subprocess.Popen(
                    list(command.arguments), cwd=os.path.join(root, command.working_directory), env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                    stdout=err, stderr=err, start_new_session=True, preexec_fn=end_with_parent,
                )
            status = self.child.wait()
            err.seek(max(0, err.tell() - 65536))
            result = re.ActionResult(exit_code=status, stderr_raw=err.read())
        for path in command.output_paths:
            place = os.path.join(root, path)
            if os.path.isdir(place):
                tree = re.Tree()
                tree.root.CopyFrom(gather(client, place, tree))
                packed = tree.SerializeToString()
                client.store(packed)
                result.output_directories.add(path=path, tree_digest=digest_of(packed))
            elif os.path.exists(place):
                with open(place, "rb") as file:
                    data = file.read()
                client.store(data)
                result.output_files.add(path=path, digest=digest_of(data))
        return result

    def end(self):
        with self.lock:
            self.over = True
            if self.child:
                self.child.kill()


class Nothing:
    """A lease that is answered at once: it ended with 0."""

    over, status, result = True, 0, re.ActionResult(exit_code=0)

    def __init__(self, client, lease):
        pass

    def end(self):
        pass


ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": "/var/tmp"}
LIBC = ctypes.CDLL(None)


def end_with_parent():
    LIBC.prctl(1, 9, 0, 0, 0)


def stage(client, digest, to):
    directory = re.Directory.FromString(client.read(digest))
    for node in directory.files:
        path = os.path.join(to, node.name)
        with open(path, "wb") as file:
            file.write(client.read(node.digest))
        os.chmod(path, 0o755 if node.is_executable else 0o644)
    for node in directory.directories:
        os.mkdir(os.path.join(to, node.name))
        stage(client, node.digest, os.path.join(to, node.name))


def gather(client, place, tree):
    directory = re.Directory()
    for name in sorted(os.listdir(place)):
        path = os.path.join(place, name)
        if os.path.isdir(path):
            child = gather(client, path, tree)
            tree.children.append(child)
            directory.directories.add(name=name, digest=digest_of(child.SerializeToString()))
        else:
            with open(path, "rb") as file:
                data = file.read()
            client.store(data)
            directory.files.add(name=name, digest=digest_of(data), is_executable=os.access(path, os.X_OK))
    return directory


def worker(client, name, kind):
    """Takes leases and answers each: the protocol's side of a worker."""
    stub, session, tasks = bots_pb2_grpc.BotsStub(client.channel), None, {}
    properties = [worker_pb2.Device.Property(key=k, value=v) for k, v in [("OSFamily", "linux"), ("ISA", os.environ.get("ISA", "x86-64"))]]
    device = worker_pb2.Device(handle="cpu", properties=properties)
    fresh = bots_pb2.BotSession(bot_id=name, status=bots_pb2.BotStatus.OK, worker=worker_pb2.Worker(devices=[device]))
    while True:
        try:
            if session is None:
                session = stub.CreateBotSession(bots_pb2.CreateBotSessionRequest(parent=client.instance, bot_session=fresh), metadata=client.metadata())
                print("ready", flush=True)
            else:
                # While something runs the engine answers at once: look again a little later.
                busy = any(not task.over for task in tasks.values())
                if busy:
                    time.sleep(0.3)
                asked = bots_pb2.UpdateBotSessionRequest(name=session.name, bot_session=session)
                session = stub.UpdateBotSession(asked, timeout=5 if busy else 30, metadata=client.metadata())
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DATA_LOSS):
                session = None
            elif error.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
                time.sleep(0.5)
        leases = {lease.id: lease for lease in session.leases if lease.state != bots_pb2.LeaseState.CANCELLED} if session else {}
        for gone in set(tasks) - set(leases):
            tasks.pop(gone).end()
        for name_, lease in leases.items():
            task = tasks.get(name_) or tasks.setdefault(name_, kind(client, lease))
            if task.over:
                lease.status.code = task.status
                if task.result is not None:
                    result = Any()
                    result.Pack(task.result)
                    lease.result.CopyFrom(result)
                lease.state = bots_pb2.LeaseState.COMPLETED


def main():
    command, target, *rest = sys.argv[1:]
    client = Client(target)
    if command in ("worker", "runner"):
        return worker(client, (rest or [command])[0], Nothing if command == "worker" else Task)
    if command == "one":
        return print(json.dumps(one(client, *rest)))
    print(json.dumps(globals()[f"floor_{command}"](client, *rest)))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
