"""An ssh to hosts of many kinds: what is at the other end behaves as the name of the host says.

    rogue.py [OPTIONS] -- HOST COMMAND

Trees travel to the real mstore; only workers misbehave. VERSION is the version of mstore.
"""

import os
import struct
import sys
import threading
import time

PROTOCOL = 2


def cbor(value):
    """Values as the frames have them; keys in the order in which they are given."""

    def head(kind, n):
        if n < 24:
            return bytes([kind << 5 | n])
        for more, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
            if n < 1 << 8 * size:
                return bytes([kind << 5 | more]) + n.to_bytes(size, "big")
        raise ValueError(n)

    if value is None:
        return b"\xf6"
    if isinstance(value, dict):
        return head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(0, value)


def write(data):
    os.write(1, data)


def say(frame):
    data = cbor(frame)
    write(struct.pack("<I", len(data)) + data)


def hello(program=os.environ["VERSION"], protocol=PROTOCOL):
    say({"hello": {"protocol": protocol, "program": program}})


def signature(**other):
    own = {
        "host": "rogue", "machine": os.uname().machine, "kernel": "6", "processors": 2**32 - 1,
        "platforms": [os.uname().machine, "never-asked"], "free": 1 << 40, "clock": int(time.time()),
        "process": os.getpid(), "obstacle": None,
    }
    say({"signature": {**own, **other}})


def orders():
    """The numbers of the jobs that are ordered."""
    pipe = os.fdopen(0, "rb")
    while head := pipe.read(4):
        frame = pipe.read(struct.unpack("<I", head)[0])
        at = frame.find(b"\x63job")
        if b"start" in frame[:10] and at > 0:
            yield frame[at + 4]


def ready():
    """A worker like any other, until it gets something to do."""

    def breathe():
        while True:
            say("alive")
            time.sleep(1)

    hello()
    signature()
    threading.Thread(target=breathe, daemon=True).start()


def rest():
    time.sleep(600)


def banner():
    write(b"Welcome to \x1b[1mthis\x1b[0m machine!\n")
    hello()
    signature()
    rest()


def prompt():
    write(b"$ ")
    hello()
    rest()


def garbage():
    write(bytes(range(255, 0, -1)))
    rest()


def huge():
    write(struct.pack("<I", 0x7FFFFFFF) + b"x" * 1000)
    rest()


def older():
    hello(program="0.0.1\x1b[2J")
    rest()


def newer():
    hello(protocol=PROTOCOL + 1)
    rest()


def gone():
    hello()


def half():
    hello()
    write(struct.pack("<I", 100) + b"half")


def nameless():
    hello()
    say("alive")
    rest()


def obstacle():
    hello()
    signature(obstacle="no \x1b]0;evil\x07room\u202e" + "x" * 9000)
    rest()


def foreign():
    hello()
    signature(machine="vax")
    rest()


def small():
    hello()
    signature(free=1000)
    rest()


def timeless():
    hello()
    signature(clock=0)
    rest()


def twice():
    ready()
    hello()
    rest()


def unknown():
    ready()
    say({"dan\x1bce": {"job": 0}})
    rest()


def extra():
    ready()
    say({"ended": {"job": 99, "millis": 1, "end": "cancelled"}})
    say({"output": {"job": 99, "bytes": b"to nobody"}})
    say({"ended": {"job": 1, "millis": 1, "end": "cancelled", "more": 1}})
    rest()


def liar():
    """Says that it built what it does not have."""
    ready()
    for job in orders():
        say({"ended": {"job": job, "millis": 1, "end": {"built": {"tree": bytes(range(32)), "changed": 1, "size": None}}}})


def chatty():
    """Prints without end."""
    ready()
    for job in orders():
        while True:
            say({"output": {"job": job, "bytes": b"spam\n" * 10000}})


def quitter():
    """Says that it was told to end."""
    ready()
    for job in orders():
        say({"ended": {"job": job, "millis": 1, "end": "cancelled"}})


def breaking():
    """Its machine fails, with words that move the cursor."""
    ready()
    for job in orders():
        say({"ended": {"job": job, "millis": 1, "end": {"infrastructure": {"what": "on \x1b[31mfire\x1b[0m"}}}})


def silent():
    rest()


def main():
    at = sys.argv.index("--")
    host, command = sys.argv[at + 1], sys.argv[at + 2]
    if " serve " in command:
        os.execvp("sh", ["sh", "-c", command])
    try:
        globals()[host]()
    except BrokenPipeError:
        pass


main()
