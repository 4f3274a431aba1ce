# Of each normaliser: what two builds leave differently when it alone is left out. Arguments are the file with all of
# them, and a folder to work in. What a build leaves has the number of the build in it.
import bz2, os, re, shutil, struct, sys, types

TEXT, WORK = open(sys.argv[1]).read(), sys.argv[2]
FILTER = """import re

def filter_bash_environment(pattern, lines, out):
    for line in lines:
        name = re.match(rb"declare -x (\\w+)=", line)
        if not name or not pattern.match(name.group(1)):
            out.write(line)
"""


def put(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())


def plant(top, number):
    record, image, root = f"{top}/record", f"{top}/image", f"{top}/root"
    for name in ("BUILD_TIME", "BUILD_ID", "COUNTER", "metadata"):
        put(f"{record}/{name}", f"{number}\n")
    put(f"{record}/environment.bz2", bz2.compress(f'declare -x A="1"\ndeclare -x MAKEOPTS="-j{number}"\n'.encode()))
    put(f"{record}/NEEDED.ELF.2", "".join(sorted(["a\n", "b\n"], reverse=number == 2)))
    put(f"{record}/CONTENTS", f"obj /a 0 {number}\n")
    put(f"{image}/usr/lib/a.py", "a = 1\n")
    code = b"\xa7\x0d\x0d\x0a" + bytes(4) + struct.pack("<II", number, 6) + b"code"
    put(f"{image}/usr/lib/__pycache__/a.cpython-311.pyc", code)
    put(f"{image}/usr/share/a.gz", b"\x1f\x8b\x08\x08" + struct.pack("<I", number) + b"\x02\x03a%d\0" % number + b"\x03\0" + bytes(8))
    os.utime(f"{image}/usr/lib/a.py", (1_500_000_000 + number,) * 2)
    for path in ("var/cache/edb/x", "var/log/emerge.log", "var/db/pkg/.cache", "var/db/pkg/c/p-1/metadata", "var/cache/ldconfig/aux-cache", "etc/passwd-"):
        put(f"{root}/{path}", f"{number}\n")
    put(f"{root}/usr/lib/python/__pycache__/b.pyc", code)
    put(f"{root}/usr/lib/python/__pycache__/kept.pyc", code[:4] + struct.pack("<I", 1) + bytes(8) + b"code")
    return image, record, root


def look(top):
    found = {}
    for folder, folders, names in os.walk(top):
        for name in folders + names:
            path = os.path.join(folder, name)
            found[path[len(top):]] = (os.stat(path).st_mode, os.path.isfile(path) and open(path, "rb").read())
    return found


def leave(text, number):
    top = f"{WORK}/build"
    shutil.rmtree(top, ignore_errors=True)
    known = {"__name__": "trial"}
    exec(compile(text, "normalise.py", "exec"), known)
    image, record, root = plant(top, number)
    for _, _, normalise in known["OF_PACKAGES"]:
        normalise(image, record)
    for _, _, normalise in known["OF_ROOTS"]:
        normalise(root)
    return look(top)


put(f"{WORK}/bin/filter-bash-environment.py", FILTER)
for name in ("portage", "portage.const"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["portage.const"].PORTAGE_BIN_PATH = f"{WORK}/bin"
lines = [line for line in TEXT.splitlines() if line.startswith("@normaliser(")]
for line in [None, *lines]:
    text = TEXT if line is None else TEXT.replace(line + "\n", "", 1)
    one, two = leave(text, 1), leave(text, 2)
    differs = sorted(path for path in one.keys() | two.keys() if one.get(path) != two.get(path))
    if line is None and "/root/usr/lib/python/__pycache__/kept.pyc" not in one:
        sys.exit("bytecode that nobody compares is gone")
    name = re.search('"(.*?)"', line)[1] if line else "none"
    print(f"{name}: {' '.join(differs)}")
