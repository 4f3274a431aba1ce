#!/usr/bin/env python3
"""Brings source archives that ebuilds name out of Debian's source packages.

    sources.py TREE PACKAGES APT DISTFILES

PACKAGES names one package (CATEGORY/NAME) a line. An archive of a Manifest and the `.orig` archive of a source package
are taken for the same if their sizes are equal and their names begin alike; what is fetched is kept in DISTFILES, under the
name that the Manifest has, if BLAKE2B and SHA512 are those of the Manifest. APT is the folder of a configuration of apt's
own with lists of source packages.
"""
import hashlib
import os
import re
import subprocess
import sys
import tempfile


def plain(name):
    """The letters of a name before its version."""
    return re.sub(r"[^a-z]", "", re.split(r"[_-]?v?\d", name.lower())[0])


def alike(distfile, package, source):
    of_file, of_source = plain(distfile), re.sub(r"[^a-z]", "", source.lower())
    return (
        of_file[:4] == of_source[:4]
        or of_file in of_source
        or of_source in of_file
        or package.split("/")[1][:5].lower() == source[:5].lower()
    )


def wanted(tree, packages):
    """Archives of the Manifests: size -> [(name, package, {hash: value})]."""
    found = {}
    for package in packages:
        for line in open(f"{tree}/{package}/Manifest", encoding="utf8"):
            words = line.split()
            if words[:1] == ["DIST"]:
                hashes = dict(zip(words[3::2], words[4::2]))
                found.setdefault(int(words[2]), []).append((words[1], package, hashes))
    return found


def paragraphs(options):
    """Paragraphs of apt's lists of source packages, as {field: [line]}."""
    targets = subprocess.run(
        ["apt-get", *options, "indextargets", "--format", "$(FILENAME)", "Created-By: Sources"],
        check=True, capture_output=True, text=True,
    ).stdout.split()
    for target in targets:
        text = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", target], check=True, capture_output=True).stdout
        for paragraph in text.decode("utf8", "replace").split("\n\n"):
            fields, field = {}, None
            for line in paragraph.split("\n"):
                if line[:1] in (" ", "\t") and field:
                    fields[field].append(line.strip())
                elif ":" in line:
                    field, value = line.split(":", 1)
                    fields[field] = [value.strip()]
            yield fields


def same(path, hashes):
    data = open(path, "rb").read()
    return hashlib.blake2b(data).hexdigest() == hashes["BLAKE2B"] and hashlib.sha512(data).hexdigest() == hashes["SHA512"]


def fetch(options, source, size, hashes, to):
    """Whether the archive of that size in a source package is the one with these hashes; it is then at `to`."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["apt-get", *options, "-qq", "source", "--download-only", source],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for name in os.listdir(folder):
            path = f"{folder}/{name}"
            if os.path.getsize(path) == size and same(path, hashes):
                os.replace(path, to) if os.stat(folder).st_dev == os.stat(os.path.dirname(to)).st_dev else subprocess.run(["cp", path, to], check=True)
                return True
    return False


def main():
    tree, packages, apt, distfiles = sys.argv[1:]
    packages = [line.split()[0] for line in open(packages, encoding="utf8") if line.strip() and line[0] != "#"]
    options = open(f"{apt}/options", encoding="utf8").read().split()
    want, sources = wanted(tree, packages), {}
    for fields in paragraphs(options):
        for line in fields.get("Checksums-Sha256", [])[1:]:
            _, size, name = line.split()
            if ".orig" not in name or name.endswith(".asc"):
                continue
            for distfile, package, hashes in want.get(int(size), []):
                if alike(distfile, package, fields["Package"][0]):
                    source = f"{fields['Package'][0]}={fields['Version'][0]}"
                    sources.setdefault((distfile, int(size)), (hashes, []))[1].append(source)
    here = 0
    for (distfile, size), (hashes, choices) in sorted(sources.items()):
        to = f"{distfiles}/{distfile}"
        if os.path.exists(to):
            here += 1
            continue
        came = any(fetch(options, source, size, hashes, to) for source in choices[:3])
        here += came
        print(f"{distfile}: {'equal' if came else 'not to be had as the Manifest has it'} ({choices[0]})", flush=True)
    print(f"{here} archives of {len(sources)} of equal size, for {len(packages)} packages")


main()
