# What two builds of one package leave differently without anything being different, and what is put in its place.
#
# A normaliser has a name and a number, which are in the key of all that it is part of, as this text is. It is of a
# package, whose image and record it is given, or of a root in which packages were installed.
import sys

sys.dont_write_bytecode = True

import bz2
import hashlib
import importlib.util
import io
import os
import re
import shutil
import stat
import struct
import subprocess
import time

EPOCH = int(os.environ["SOURCE_DATE_EPOCH"])
BEGAN = time.time_ns()
# What runs here is to leave no more behind than it has to.
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
OF_PACKAGES, OF_ROOTS = [], []

# Variables that say how a phase was run, and nothing of what it made.
RUN_NAMES = (
    "MAKEOPTS MAKEFLAGS MFLAGS GNUMAKEFLAGS NINJAOPTS NINJAFLAGS SAMUFLAGS CMAKE_BUILD_PARALLEL_LEVEL CARGO_BUILD_JOBS"
    " RANDOM SRANDOM SECONDS EPOCHSECONDS EPOCHREALTIME BASHPID PPID BASH_ARGC BASH_ARGV COLUMNS LINES"
    " PORTAGE_PIPE_FD PORTAGE_BUILDIR_LOCKED PORTAGE_LOG_FILE EBUILD_FORCE_TEST PORTAGE_PYTHONPATH PORTAGE_COLORMAP"
    " PORTAGE_COMPRESSION_COMMAND EBUILD_SKIP_MANIFEST PYTHONDONTWRITEBYTECODE HOSTNAME OLDPWD PWD SHLVL _"
)


def normaliser(name, number, group):
    def known(function):
        group.append((name, number, function))
        return function
    return known


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, content):
    # Whatever has the name, a link among them, stays as it is elsewhere.
    if os.path.lexists(path):
        os.unlink(path)
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())


def files(top):
    """All regular files below a folder, each once, in order."""
    for folder, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield path


def replace(path, content):
    """Other content for a file that keeps all else, its other names among it."""
    status = os.stat(path)
    os.chmod(path, status.st_mode | 0o200)
    with open(path, "r+b") as file:
        file.write(content)
        file.truncate()
    os.chmod(path, stat.S_IMODE(status.st_mode))
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))


@normaliser("portage.build-time", 1, OF_PACKAGES)
def build_time(image, record):
    write(f"{record}/BUILD_TIME", f"{EPOCH}\n")
    if os.path.lexists(f"{record}/BUILD_ID"):
        write(f"{record}/BUILD_ID", "1\n")


@normaliser("portage.counter", 1, OF_PACKAGES)
def counter(image, record):
    if os.path.lexists(f"{record}/COUNTER"):
        os.unlink(f"{record}/COUNTER")


@normaliser("portage.metadata", 1, OF_PACKAGES)
def metadata(image, record):
    # One file with all others in it, and with the time of the folder: Portage does without it.
    if os.path.lexists(f"{record}/metadata"):
        os.unlink(f"{record}/metadata")


@normaliser("portage.environment", 1, OF_PACKAGES)
def environment(image, record):
    path = f"{record}/environment.bz2"
    if os.path.lexists(path):
        text = without_variables(bz2.decompress(read(path)), RUN_NAMES.split())
        write(path, bz2.compress(text))


def without_variables(text, names):
    """An environment that a shell reads, less some variables; Portage's own program says what is one. It is not run but
    loaded: to start Python takes longer."""
    place = importlib.util.spec_from_file_location("filter_bash_environment", own_program("filter-bash-environment.py"))
    program = importlib.util.module_from_spec(place)
    place.loader.exec_module(program)
    # What a shell cannot have as a name goes as well.
    pattern = "|".join([*names, r"\d.*", r".*\W.*"]).encode()
    left = io.BytesIO()
    program.filter_bash_environment(re.compile(b"^(" + pattern + b")$"), io.BytesIO(text), left)
    return left.getvalue()


def own_program(name):
    """One of Portage's own programs. To ask Portage where they are takes longer than to look."""
    usual = "/usr/lib/portage"
    for folder in (f"{usual}/python{sys.version_info.major}.{sys.version_info.minor}", f"{usual}/bin"):
        if os.path.exists(f"{folder}/{name}"):
            return f"{folder}/{name}"
    from portage.const import PORTAGE_BIN_PATH

    return f"{PORTAGE_BIN_PATH}/{name}"


@normaliser("portage.needed", 1, OF_PACKAGES)
def needed(image, record):
    for name in ("NEEDED", "NEEDED.ELF.2"):
        if os.path.lexists(f"{record}/{name}"):
            write(f"{record}/{name}", b"".join(sorted(read(f"{record}/{name}").splitlines(keepends=True))))


@normaliser("python.bytecode", 1, OF_PACKAGES)
def bytecode_of_package(image, record):
    for path in files(image):
        if path.endswith(".pyc"):
            unchecked(path)


def unchecked(path):
    """Bytecode that says when its source was changed says in place of that that nobody is to look."""
    content = read(path)
    if len(content) < 16 or struct.unpack("<I", content[4:8])[0] != 0:
        return
    source = os.path.join(os.path.dirname(os.path.dirname(path)), os.path.basename(path).split(".")[0] + ".py")
    digest = importlib.util.source_hash(read(source)) if os.path.isfile(source) else bytes(8)
    replace(path, content[:4] + struct.pack("<I", 1) + digest + content[16:])


@normaliser("gzip.name-time", 1, OF_PACKAGES)
def gzip_headers(image, record):
    for path in files(image):
        if path.endswith((".gz", ".tgz")):
            content = read(path)
            plain = without_name_and_time(content)
            if plain != content:
                replace(path, plain)


def without_name_and_time(content):
    if content[:3] != b"\x1f\x8b\x08" or len(content) < 18 or content[3] & ~0x09:
        # No gzip, or one with a checksum, a comment or more in its head, which stay as they are.
        return content
    after = 10
    if content[3] & 0x08:
        after = content.index(b"\0", 10) + 1 if b"\0" in content[10:4096] else 0
    return content if not after else content[:3] + bytes([content[3] & 1]) + bytes(4) + content[8:10] + content[after:]


@normaliser("portage.contents", 1, OF_PACKAGES)
def contents(image, record):
    """What Portage writes when it merges a package, sorted, and no later than the epoch. It comes last."""
    write(f"{record}/CONTENTS", "".join(line + "\n" for line in sorted(contents_of(image))).encode("utf8", "surrogateescape"))


def contents_of(image):
    for folder, folders, names in os.walk(image):
        for name in folders + names:
            path = os.path.join(folder, name)
            place, status = path[len(image):], os.lstat(path)
            time = min(int(status.st_mtime), EPOCH)
            if stat.S_ISDIR(status.st_mode):
                yield f"dir {place}"
            elif stat.S_ISLNK(status.st_mode):
                yield f"sym {place} -> {os.readlink(path)} {time}"
            elif stat.S_ISREG(status.st_mode):
                yield f"obj {place} {hashlib.md5(read(path)).hexdigest()} {time}"
            elif stat.S_ISFIFO(status.st_mode):
                yield f"fif {place}"
            else:
                yield f"dev {place}"


def environment_is_old(root):
    """Whether files in etc/env.d say something that is not in what was made of them."""
    made = ""
    for path in ("etc/profile.env", "etc/ld.so.conf"):
        if os.path.exists(f"{root}/{path}"):
            made += read(f"{root}/{path}").decode("utf8", "replace")
    for path in below(f"{root}/etc/env.d"):
        for line in read(path).decode("utf8", "replace").splitlines() if os.path.isfile(path) else []:
            name, _, value = line.partition("=")
            if not name.startswith("#") and any(part not in made for part in value.strip("\"' ").split(":")):
                return True
    return False


def update_environment(root):
    """What is made of files in etc/env.d, and the cache of the loader."""
    from portage.util.env_update import env_update

    env_update(makelinks=1, target_root=root)


def remove(path):
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif os.path.isdir(path):
        shutil.rmtree(path)


def below(folder):
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))] if os.path.isdir(folder) else []


@normaliser("portage.caches", 1, OF_ROOTS)
def caches(root):
    gone = ["var/cache/edb", "var/lib/portage/preserved_libs_registry", "var/lib/portage/config", "var/log/emerge.log"]
    gone += ["var/log/emerge-fetch.log", "var/log/portage", "var/cache/dep", "var/lib/portage/.preserved_libs_registry.portage_lockfile"]
    for path in gone:
        remove(f"{root}/{path}")
    for path in below(f"{root}/var/db/pkg"):
        if os.path.basename(path).startswith("."):
            remove(path)
    for path in below(f"{root}/var/tmp/portage"):
        remove(path)


@normaliser("portage.metadata", 1, OF_ROOTS)
def metadata_of_root(root):
    for category in below(f"{root}/var/db/pkg"):
        for package in below(category):
            remove(f"{package}/metadata")


@normaliser("ld.aux-cache", 1, OF_ROOTS)
def aux_cache(root):
    remove(f"{root}/var/cache/ldconfig/aux-cache")


@normaliser("passwd.backups", 1, OF_ROOTS)
def backups(root):
    for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid"):
        remove(f"{root}/etc/{name}-")
        remove(f"{root}/etc/{name}.lock")
    remove(f"{root}/etc/.pwd.lock")


@normaliser("python.bytecode", 1, OF_ROOTS)
def bytecode_of_root(root):
    """What was compiled while something ran here says when, and belongs to nobody."""
    for folder, _, names in os.walk(f"{root}/usr"):
        if os.path.basename(folder) != "__pycache__":
            continue
        for name in sorted(names):
            path = os.path.join(folder, name)
            # The clock of files is coarser than ours.
            if name.endswith(".pyc") and os.lstat(path).st_ctime_ns >= BEGAN - 20_000_000 and not is_unchecked(path):
                os.unlink(path)
        if not os.listdir(folder):
            os.rmdir(folder)


def is_unchecked(path):
    with open(path, "rb") as file:
        head = file.read(8)
    return len(head) == 8 and struct.unpack("<I", head[4:])[0] == 1
