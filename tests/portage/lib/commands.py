#!/usr/bin/env python3
"""Prints the commands of a page of the manual, one a line.

    commands.py blocks PAGE     those of its blocks, in order
    commands.py text PAGE       those in running text and tables, each once
"""
import re
import sys

with open(sys.argv[2], encoding="utf-8") as page:
    lines = page.read().split("\n")
if sys.argv[1] == "blocks":
    found = [line[6:] for line in lines if line.startswith("    $ ")]
else:
    found = sorted({command for line in lines for command in re.findall(r"`(mstore [^`]+)`", line)})
print("\n".join(found))
