#!/usr/bin/env python3
"""Starts a machine in qemu, logs in at its serial console, runs commands, and prints what they print.

    drive.py SECONDS COMMAND... -- QEMU-ARGUMENT...
    drive.py SECONDS COMMAND... -- qemu-system-x86_64 QEMU-ARGUMENT...

The second form starts exactly that; its first serial console has to be standard input and output.

Exit status 1: no prompt in time; what the machine said goes to stderr. When what was done goes there too.
"""
import os
import select
import subprocess
import sys
import time

begun = time.monotonic()
limit = begun + float(sys.argv[1])
cut = sys.argv.index("--")
commands, qemu = sys.argv[2:cut], sys.argv[cut + 1:]
usual = ["qemu-system-x86_64", "-machine", "pc,accel=tcg", "-cpu", "max", "-m", "512", "-display", "none",
         "-serial", "stdio", "-monitor", "none", "-no-reboot", "-nic", "none"]
machine = subprocess.Popen(
    qemu if qemu[:1] == usual[:1] else usual + qemu,
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
said = b""


def wait_for(words, begin):
    """Waits until one of them was said after `begin`; returns where what follows it begins."""
    global said
    while True:
        found = [said.find(word, begin) + len(word) for word in words if said.find(word, begin) >= 0]
        if found:
            return min(found)
        left = limit - time.monotonic()
        ready = left > 0 and select.select([machine.stdout], [], [], left)[0]
        more = os.read(machine.stdout.fileno(), 65536) if ready else b""
        said += more
        if not more or b"Kernel panic - not syncing" in said:
            sys.stderr.write(said.decode(errors="replace"))
            sys.stderr.write("\ndrive.py: waited in vain for %s\n" % b" or ".join(words).decode())
            machine.kill()
            sys.exit(1)


def say(text):
    machine.stdin.write(text.encode() + b"\n")


try:
    at = wait_for([b"login: "], 0)
    sys.stderr.write("drive.py: %6.1f s: login\n" % (time.monotonic() - begun))
    say("root")
    at = wait_for([b"# "], at)
    # No echo, so that an answer is an answer.
    # What the kernel has to say stays out of it too.
    say("echo 1 > /proc/sys/kernel/printk; stty -echo; PS1=; echo rea''dy")
    at = wait_for([b"ready\r\n"], at)
    for number, command in enumerate(commands):
        # With the end of its line, which is not the next command's.
        mark = "end-of-%d\r\n" % number
        say("%s; echo end-of''-%d" % (command, number))
        end = wait_for([mark.encode()], at)
        sys.stdout.write(said[at:end - len(mark)].replace(b"\r\n", b"\n").decode(errors="replace"))
        at = end
        sys.stderr.write("drive.py: %6.1f s: %s\n" % (time.monotonic() - begun, command))
finally:
    machine.kill()
    machine.wait()
