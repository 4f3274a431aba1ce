#!/usr/bin/env python3
"""Makes a large mirror: generate.py DIR [SUBARCHES [BUILDS]]; also DIR.buildbot, the configuration for it."""
import datetime
import os
import sys

top = sys.argv[1]
subarches = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
count = int(sys.argv[3]) if len(sys.argv) > 3 else 10
builds, arches = ["linden-current", "linden-stable"], [f"arch{n}" for n in range(5)]
names = [f"sub{n:03}" for n in range(max(1, subarches // 10))]
today = datetime.date(2026, 11, 28)
serial = 0
for build in builds:
    for arch in arches:
        for name in names:
            serial += 1
            folder = os.path.join(top, build, arch, name)
            os.makedirs(os.path.join(folder, ".control", "version"))
            if serial % 10 == 0:
                with open(os.path.join(folder, ".control", ".failcount"), "w") as out:
                    out.write(str(serial // 10 % 4))
            for n in range(count):
                date = today - datetime.timedelta(days=7 * (count - n) + serial % 5 - 3)
                place = os.path.join(folder, str(date))
                os.mkdir(place)
                for kind in ["stage1", "stage2", "stage3", "lxd"] if n % 2 == 0 else ["stage3", "lxd"]:
                    archive = os.path.join(place, f"{kind}-{name}-{build}-{date}.tar.xz")
                    open(archive, "w").close()
                    os.truncate(archive, 100_000_000 + serial)
                    with open(archive + ".hash.txt", "w") as out:
                        out.write(f"sha256 {serial:064x}\n")
                with open(os.path.join(place, "status"), "w") as out:
                    out.write("ok")
                with open(os.path.join(place, "build-info.json"), "w") as out:
                    out.write('{\n    "ARCH": "amd64",\n    "CFLAGS": "-O2 -pipe",\n    "CHOST": "x86_64-pc-linux-gnu"\n}')
with open(top + ".buildbot", "w") as out:
    out.write(f"builds = {tuple(builds)!r}\narches = {tuple(arches)!r}\nsubarches = {tuple(names)!r}\n")
    out.write("def map_build(build, subarch, full, full_date):\n\tif full == True:\n\t\treturn 'freshen'\n\treturn 'full+lxd'\n")
