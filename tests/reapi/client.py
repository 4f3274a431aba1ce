"""A bare client of remote execution and a worker that does nothing: what an engine costs by itself.

Runs in BuildGrid's own environment, whose wheel brings the generated messages:

    target/reapi/buildgrid-*/bin/python tests/reapi/client.py COMMAND ADDRESS[/INSTANCE] [ARGUMENT...]

`worker` answers leases until it is ended; the others print one line of JSON.
"""

import hashlib
import json
import os
import sys
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
        self.channel = grpc.insecure_channel(address, options=big)
        self.cas = re_grpc.ContentAddressableStorageStub(self.channel)
        self.exe = re_grpc.ExecutionStub(self.channel)
        self.ac = re_grpc.ActionCacheStub(self.channel)
        self.bytes = bytestream_pb2_grpc.ByteStreamStub(self.channel)

    def missing(self, digests):
        return list(self.cas.FindMissingBlobs(re.FindMissingBlobsRequest(instance_name=self.instance, blob_digests=digests)).missing_blob_digests)

    def put(self, blobs, limit=4 * MIB - (64 << 10)):
        """Uploads small blobs, in batches."""
        batch, size = [], 0
        for data in [*blobs, None]:
            if batch and (data is None or size + len(data) + 120 > limit):
                done = self.cas.BatchUpdateBlobs(re.BatchUpdateBlobsRequest(instance_name=self.instance, requests=batch))
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

        done = self.bytes.Write(pieces())
        assert done.committed_size == len(data), done
        return digest

    def read(self, digest):
        head = f"{self.instance}/" if self.instance else ""
        name = f"{head}blobs/{digest.hash}/{digest.size_bytes}"
        data = b"".join(r.data for r in self.bytes.Read(bytestream_pb2.ReadRequest(resource_name=name)))
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
    """An action of its own that does nothing; `busybox` brings the program, for an engine that really runs it."""
    if how != "busybox":
        return client.action(salt=os.urandom(8))
    with open("/bin/busybox", "rb") as file:
        return client.action(words=["/true"], salt=os.urandom(8), files=[("true", file.read(), True)])


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


def worker(client, name="floor"):
    """Takes leases and says at once that each ended with 0."""
    stub = bots_pb2_grpc.BotsStub(client.channel)
    properties = [worker_pb2.Device.Property(key="OSFamily", value="linux")]
    device = worker_pb2.Device(handle="cpu", properties=properties)
    session = bots_pb2.BotSession(bot_id=name, status=bots_pb2.BotStatus.OK, worker=worker_pb2.Worker(devices=[device]))
    session = stub.CreateBotSession(bots_pb2.CreateBotSessionRequest(parent=client.instance, bot_session=session))
    print("ready", flush=True)
    while True:
        for lease in session.leases:
            result = Any()
            result.Pack(re.ActionResult(exit_code=0))
            lease.result.CopyFrom(result)
            lease.status.code = 0
            lease.state = bots_pb2.LeaseState.COMPLETED
        try:
            session = stub.UpdateBotSession(bots_pb2.UpdateBotSessionRequest(name=session.name, bot_session=session), timeout=30)
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
                raise


def main():
    command, target, *rest = sys.argv[1:]
    client = Client(target)
    if command == "worker":
        return worker(client, *rest)
    if command == "one":
        return print(json.dumps(one(client, *rest)))
    print(json.dumps(globals()[f"floor_{command}"](client, *rest)))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
