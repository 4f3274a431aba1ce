"""A proxy between mstore and an engine: counts calls and bytes by method, and lets something happen at a chosen call.

    target/reapi/buildgrid-*/bin/python tests/reapi/proxy.py LISTEN UPSTREAM

Takes a line of JSON at a time and answers with one:

    {"rules": [RULE...]}    from now on; a RULE is {"method": "Execute", "nth": 2, "when": "before", "first" (something
                            of the answer came) or "after", "run": SHELL COMMAND, "code": "UNAVAILABLE", "stop": BYTES}: what is run, the status that the
                            call then ends with, and after how many bytes of an answer it ends so
    {"counts": true}        {"calls": {METHOD: {"calls", "up", "down", "blobs"}}, "fired": [METHOD...]}, and begins anew; the
                            blobs are those that an upload carries or a question is about

A rule has fired once what it runs has ended well.
"""

import json
import subprocess
import sys
import threading
from concurrent import futures

import grpc
from buildgrid._protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re

# How many blobs a message is about.
BLOBS = {
    "BatchUpdateBlobs": lambda message: len(re.BatchUpdateBlobsRequest.FromString(message).requests),
    "BatchReadBlobs": lambda message: len(re.BatchReadBlobsRequest.FromString(message).digests),
    "FindMissingBlobs": lambda message: len(re.FindMissingBlobsRequest.FromString(message).blob_digests),
}

BIG = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
# What the next hop says for itself.
HOP = ("user-agent", "te", "content-type")


class Proxy(grpc.GenericRpcHandler):
    def __init__(self, upstream):
        # A channel of its own for each call would hide a lost connection; one for all is what mstore has too.
        self.channel = grpc.insecure_channel(upstream, options=[*BIG, ("grpc.max_reconnect_backoff_ms", 500)])
        self.lock = threading.Lock()
        self.calls, self.fired, self.rules = {}, [], []

    def service(self, details):
        method, metadata = details.method, details.invocation_metadata
        return grpc.stream_stream_rpc_method_handler(lambda asked, context: self.relay(method, metadata, asked, context))

    def count(self, name, what, much):
        with self.lock:
            one = self.calls.setdefault(name, {"calls": 0, "up": 0, "down": 0, "blobs": 0})
            one[what] += much

    def due(self, name, when):
        """The rule that this call meets, if any; each is met once."""
        with self.lock:
            for rule in self.rules:
                if rule["method"] == name and rule.get("when", "before") == when:
                    rule["seen"] = rule.get("seen", 0) + 1
                    if rule["seen"] == rule.get("nth", 1):
                        return rule
        return None

    def obey(self, rule, context):
        if "run" in rule:
            subprocess.run(["sh", "-c", rule["run"]], check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        with self.lock:
            self.fired.append(rule["method"])
        if "code" in rule and "stop" not in rule:
            context.abort(grpc.StatusCode[rule["code"]], "the proxy says so")

    def relay(self, method, metadata, asked, context):
        name = method.rsplit("/", 1)[1]
        self.count(name, "calls", 1)
        rule = self.due(name, "before")
        if rule:
            self.obey(rule, context)

        def counted():
            for message in asked:
                self.count(name, "up", len(message))
                if name in BLOBS:
                    self.count(name, "blobs", BLOBS[name](message))
                yield message

        # What has none is told in more than one way.
        limit = context.time_remaining()
        limit = limit if limit and 0 < limit < 1e6 else None
        metadata = [(k, v) for k, v in metadata if k not in HOP and not k.startswith("grpc-")]
        call = self.channel.stream_stream(method)(counted(), metadata=metadata, timeout=limit)
        context.add_callback(call.cancel)
        passed = 0
        try:
            for message in call:
                if not passed and (first := self.due(name, "first")):
                    self.obey(first, context)
                if rule and "stop" in rule and passed + len(message) > rule["stop"]:
                    call.cancel()
                    context.abort(grpc.StatusCode[rule["code"]], "the proxy says so")
                passed += len(message)
                self.count(name, "down", len(message))
                yield message
        except grpc.RpcError as error:
            context.set_trailing_metadata([(k, v) for k, v in error.trailing_metadata() or () if k.endswith("-bin")])
            context.abort(error.code(), error.details())
        rule = self.due(name, "after")
        if rule:
            self.obey(rule, context)


def main():
    listen, upstream = sys.argv[1:]
    proxy = Proxy(upstream)
    server = grpc.server(futures.ThreadPoolExecutor(1500), handlers=[proxy], options=BIG)
    assert server.add_insecure_port(listen), listen
    server.start()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        words = json.loads(line)
        with proxy.lock:
            if "rules" in words:
                proxy.rules = words["rules"]
            answer = {"calls": proxy.calls, "fired": proxy.fired}
            if "counts" in words:
                proxy.calls, proxy.fired = {}, []
        print(json.dumps(answer), flush=True)
    server.stop(0)


if __name__ == "__main__":
    main()
