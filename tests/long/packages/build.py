#!/usr/bin/env python3
"""Builds packages in the whole root and in a narrowed one, and says whether the images are equal.

    build.py WORK PACKAGE...      all of WORK/resolved.json that have no result yet, if none is named

Results are WORK/results/CATEGORY-NAME.json; report.py makes a table of them. With WITH="CATEGORY/NAME..." the narrowed root
has these libraries too, and with WITHOUT="CATEGORY/NAME..." it has not, declared or not; the result is named after them. So a
cause is shown to be one, and that the narrow root does lack what it should.
"""
import glob
import hashlib
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TIME_LIMIT = 3600  # seconds for one build
# Lines in which configure scripts, CMake and meson say what they found.
FINDINGS = [
    ("config.log", re.compile(r"^(\w+_cv_\w+)=(.*)$")),
    ("CMakeCache.txt", re.compile(r"^(\w+):\w+=(.*)$")),
    ("meson-log.txt", re.compile(r"^((?:Run-time d|D)ependency .+|Has header .+|Checking for .+|Library .+) (found: .+|: YES.*|: NO.*)$")),
]


def say(*words):
    print(*words, flush=True)


class Roots:
    """Lower folders for a set of libraries: the base, their files in one folder, their entries in var/db/pkg."""

    def __init__(self, work, views):
        self.work, self.views = work, views
        self.tools = [line.split()[1] for line in open(f"{HERE}/tools.txt", encoding="utf8") if line[0] != "#"]
        self.libraries = [line.split()[0] for line in open(f"{HERE}/libraries.txt", encoding="utf8") if line[0] != "#"]

    def lower(self, libraries):
        shown = [name for name in self.libraries if name in libraries]
        place = f"{self.work}/roots/" + hashlib.sha256(" ".join(shown).encode()).hexdigest()[:16]
        if not os.path.exists(f"{place}.made"):
            shutil.rmtree(place, ignore_errors=True)
            os.makedirs(place)
            for name in shown:
                if os.path.isdir(f"{self.work}/layers/{name}"):
                    subprocess.run(["cp", "-alf", f"{self.work}/layers/{name}/.", place], check=True)
            for name in sorted(set(shown) | set(self.tools)):
                self.enter(place, name)
            # The folders of the layers are new ones; the base has the right modes for them.
            open(f"{place}.made", "w").close()
        return f"{place}:{self.work}/base"

    def enter(self, place, name):
        """The short entry of the package database."""
        if name in self.views:
            folder = f"{place}/var/db/pkg/{self.views[name]['cpv']}"
            os.makedirs(folder)
            for key, value in self.views[name]["entry"].items():
                with open(f"{folder}/{key}", "w", encoding="utf8") as file:
                    file.write(value + "\n")


def repository(work, package):
    """The part of the tree that a package may see: its ebuild and files, eclasses that it inherits, profiles."""
    place, tree = f"{work}/run/repository", f"{work}/tree"
    shutil.rmtree(place, ignore_errors=True)
    name, version = package["name"], package["cpv"].split("/")[1]
    os.makedirs(f"{place}/{name}")
    os.makedirs(f"{place}/eclass")
    shutil.copy(f"{tree}/{name}/{version}.ebuild", f"{place}/{name}")
    if os.path.isdir(f"{tree}/{name}/files"):
        shutil.copytree(f"{tree}/{name}/files", f"{place}/{name}/files")
    for eclass in package["inherited"]:
        shutil.copy(f"{tree}/eclass/{eclass}.eclass", f"{place}/eclass")
    for folder in ("profiles", "metadata"):
        subprocess.run(["cp", "-al", f"{tree}/{folder}", place], check=True)
    return place


def listing(image):
    """{path: what is compared}: all but times and places of blocks."""
    found, links = {}, {}
    for folder, folders, files in os.walk(image):
        folders.sort()
        for name in sorted(folders) + sorted(files):
            path = f"{folder}/{name}"
            status = os.lstat(path)
            entry = [stat.filemode(status.st_mode), status.st_uid, status.st_gid]
            if stat.S_ISLNK(status.st_mode):
                entry.append(os.readlink(path))
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    entry += [status.st_size, hashlib.sha256(file.read()).hexdigest()]
                if status.st_nlink > 1:
                    entry.append(links.setdefault(status.st_ino, os.path.relpath(path, image)))
            if not stat.S_ISLNK(status.st_mode):
                entry += [[key, os.getxattr(path, key).hex()] for key in sorted(os.listxattr(path)) if not key.startswith("trusted.")]
            found[os.path.relpath(path, image)] = entry
    return found


def findings(folder):
    """{key: value} of all that configure found, over every build folder."""
    found = {}
    for name, pattern in FINDINGS:
        for path in glob.glob(f"{folder}/work/**/{name}", recursive=True):
            for line in open(path, encoding="utf8", errors="replace"):
                if match := pattern.match(line.rstrip("\n")):
                    found[f"{os.path.relpath(path, folder + '/work')} {match[1]}"] = match[2]
    return found


def sonames(folder):
    """Sonames that the image needs and does not bring, by Portage's own record."""
    path = f"{folder}/build-info/REQUIRES"
    return sorted(set(re.findall(r"\S+\.so\S*", open(path, encoding="utf8").read()))) if os.path.exists(path) else []


def build(work, package, way, lower, tree):
    """One build from `clean` to `install`: what came of it."""
    category, version = package["cpv"].split("/")
    run = f"{work}/run/{way}"
    subprocess.run(["rm", "-rf", run], check=True)
    os.makedirs(run)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    log = f"{work}/logs/{package['name'].replace('/', '-')}.{way}.log"
    with open(log, "w", encoding="utf8") as out:
        try:
            code = subprocess.run(
                [f"{HERE}/enter.sh", run, lower, f"{tree}:/var/db/repos/gentoo:ro", f"{work}/distfiles:/var/cache/distfiles:ro", "--",
                 "env", "MAKEOPTS=-j1", "NINJAOPTS=-j1", "ebuild", "--skip-manifest", f"/var/db/repos/gentoo/{package['name']}/{version}.ebuild", "clean", "install"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, timeout=TIME_LIMIT,
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    folder = f"{run}/upper/var/tmp/portage/{category}/{version}"
    return {
        "ok": code == 0,
        "cpu": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "wall": round(time.monotonic() - started, 1),
        "image": listing(f"{folder}/image") if code == 0 else {},
        "findings": findings(folder),
        "sonames": sonames(folder),
        "folder": folder,
    }


def differing(one, other):
    return sorted(path for path in set(one) | set(other) if one.get(path) != other.get(path))


def keep(work, package, way, built, paths):
    """Keeps the files that differ, to look at them."""
    for path in paths:
        source, to = f"{built['folder']}/image/{path}", f"{work}/differing/{package['name']}/{way}/{path}"
        if os.path.isfile(source) and not os.path.islink(source):
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copy(source, to)


def undeclared(provides, package, libraries):
    """Packages that alone bring a soname, and that the package does not declare: soname -> package."""
    declared = set(package["closure"]) | set(package["run"])
    return {name: provides[name][0] for name in libraries if name in provides and not set(provides[name]) & declared}


def both(work, roots, provides, package, more, less):
    shown = (set(package["closure"]) | set(more)) - set(less)
    whole = build(work, package, "whole", roots.lower(set(roots.libraries)), f"{work}/tree")
    result = {key: package[key] for key in ("name", "cpv", "depend", "bdepend", "closure", "use")} | {"whole": cost(whole), "with": more, "without": less}
    result["layers"] = [name for name in roots.libraries if name in shown]
    if not whole["ok"]:
        return result | {"outcome": "not built"}
    result["entries"] = len(whole["image"])
    result["undeclared_sonames"] = undeclared(provides, package, whole["sonames"])
    narrow = build(work, package, "narrow", roots.lower(shown), repository(work, package))
    result["narrow"] = cost(narrow)
    result["undeclared_sonames_narrow"] = undeclared(provides, package, narrow["sonames"])
    changed = differing(whole["findings"], narrow["findings"])
    result["findings"] = {"all": len(whole["findings"]), "differ": {k: [whole["findings"].get(k), narrow["findings"].get(k)] for k in changed[:200]}}
    if not narrow["ok"]:
        return result | {"outcome": "fails"}
    paths = differing(whole["image"], narrow["image"])
    if not paths:
        return result | {"outcome": "identical"}
    keep(work, package, "whole", whole, paths)
    keep(work, package, "narrow", narrow, paths)
    # Once more in the whole root: what differs there too is noise.
    again = build(work, package, "whole", roots.lower(set(roots.libraries)), f"{work}/tree")
    noise = differing(whole["image"], again["image"])
    result |= {"paths": paths, "noise": noise, "sonames": differing(dict.fromkeys(whole["sonames"], 1), dict.fromkeys(narrow["sonames"], 1))}
    return result | {"outcome": "noise" if set(paths) <= set(noise) else "differs"}


def effort(work, package):
    """The packages that are quick to build come first, so a run that is ended early has tried the most."""
    return "autotools" in package["inherited"], sum(os.path.getsize(f"{work}/distfiles/{archive}") for archive in package["archives"])


def cost(built):
    return {key: built[key] for key in ("ok", "cpu", "wall")}


def main():
    work, asked = os.path.abspath(sys.argv[1]), sys.argv[2:]
    more, less = (os.environ.get(name, "").split() for name in ("WITH", "WITHOUT"))
    resolved = json.load(open(f"{work}/resolved.json", encoding="utf8"))
    provides = json.load(open(f"{work}/layers/provides.json", encoding="utf8"))
    roots = Roots(work, resolved["views"])
    for folder in ("logs", "results", "run"):
        os.makedirs(f"{work}/{folder}", exist_ok=True)
    packages = [package for package in resolved["packages"] if "cpv" in package and (not asked or package["name"] in asked)]
    for package in sorted(packages, key=lambda package: effort(work, package)):
        name = "".join([package["name"], *(f"+{library}" for library in more), *(f"-{library}" for library in less)]).replace("/", "-")
        to = f"{work}/results/{name}.json"
        if os.path.exists(to) and not asked:
            continue
        result = both(work, roots, provides, package, more, less)
        with open(f"{to}.new", "w", encoding="utf8") as file:
            json.dump(result, file, indent=1, sort_keys=True)
        os.replace(f"{to}.new", to)
        say(f"{result['outcome']:9} {package['cpv']} {result['whole']} {result.get('narrow')} {len(result['findings']['differ']) if 'findings' in result else ''} {result.get('undeclared_sonames') or ''}")
    subprocess.run(["rm", "-rf", f"{work}/run"], check=True)


main()
