#!/usr/bin/env python3
"""Prints the commands of a page of the manual, one a line: those of its blocks, in order.

    commands.py PAGE            the commands
"""
import sys

with open(sys.argv[1], encoding="utf-8") as page:
    for line in page:
        if line.startswith("    $ "):
            print(line[6:].rstrip("\n"))
