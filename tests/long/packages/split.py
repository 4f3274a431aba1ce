#!/usr/bin/env python3
"""Moves development files out of a Debian root.

    split.py ROOT LIBRARIES LAYERS

LIBRARIES names a package of Gentoo and packages of Debian with its development files a line. What these own is moved to
LAYERS/CATEGORY/NAME, hard links where two take it. Headers of the C library and of the compiler stay. LAYERS/provides.json
says which sonames belong to which package: those of the libraries that its `.so` links point to.
"""
import glob
import json
import os
import re
import subprocess
import sys

# Packages with development files that every base has.
OF_THE_BASE = re.compile(r"autotools-dev|libc6-dev|linux-libc-dev|libgcc-\d+-dev|libstdc\+\+-\d+-dev|libltdl-dev|libc-dev-bin")


def own(root, package):
    """What a package of Debian owns, but folders, by the place where it really is."""
    lists = glob.glob(f"{root}/var/lib/dpkg/info/{package}.list") + glob.glob(f"{root}/var/lib/dpkg/info/{package}:*.list")
    for path in (line.rstrip("\n") for name in lists for line in open(name, encoding="utf8")):
        folder = os.path.relpath(os.path.realpath(root + os.path.dirname(path)), os.path.realpath(root))
        place = os.path.normpath(f"{folder}/{os.path.basename(path)}")
        here = f"{root}/{place}"
        if os.path.islink(here) or os.path.isfile(here):
            yield place
    if not lists:
        print(f"{package} is not installed", file=sys.stderr)


def sonames(path):
    """The sonames that linking with a `.so` file gives: its own, or those of the libraries that a linker script names."""
    with open(path, "rb") as file:
        start = file.read(4096)
    if start[:4] != b"\x7fELF":
        named = re.findall(r"[^\s/()]+\.so\.[0-9.]+", start.decode("utf8", "replace"))
        beside = [f"{os.path.dirname(path)}/{name}" for name in named]
        return sorted({name for library in beside if os.path.exists(library) for name in sonames(os.path.realpath(library))})
    out = subprocess.run(["readelf", "-d", path], check=True, capture_output=True, text=True).stdout
    return re.findall(r"\(SONAME\).*\[(.*)\]", out)


def main():
    root, libraries, layers = sys.argv[1:]
    table = [line.split() for line in open(libraries, encoding="utf8") if line.strip() and line[0] != "#"]
    known = {package for line in table for package in line[1:]}
    installed = {os.path.basename(name)[:-5].split(":")[0] for name in glob.glob(f"{root}/var/lib/dpkg/info/*.list")}
    unknown = [p for p in sorted(installed) if re.search(r"-dev(-bin)?$", p) and p not in known and not OF_THE_BASE.fullmatch(p)]
    if unknown:
        sys.exit(f"development files that {libraries} does not speak of: {' '.join(unknown)}")
    places = {line[0]: sorted({place for package in line[1:] if package in installed for place in own(root, package)}) for line in table}
    provides = {}
    for library, own_places in places.items():
        for place in own_places:
            if place.endswith(".so") and os.path.exists(f"{root}/{place}"):
                for name in sonames(os.path.realpath(f"{root}/{place}")):
                    provides.setdefault(name, []).append(library)
            to = f"{layers}/{library}/{place}"
            os.makedirs(os.path.dirname(to), exist_ok=True)
            os.link(f"{root}/{place}", to, follow_symlinks=False)
    for place in {place for own_places in places.values() for place in own_places}:
        os.unlink(f"{root}/{place}")
    with open(f"{layers}/provides.json", "w", encoding="utf8") as out:
        json.dump(provides, out, indent=1, sort_keys=True)
    print(f"{sum(map(len, places.values()))} development files of {sum(1 for p in places.values() if p)} libraries moved out of the base")


main()
