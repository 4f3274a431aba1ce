#!/usr/bin/env python3
"""Our store beside others, on the same trees, in the same minutes.

    compare.py --work DIR --tree ROOTFS --next ROOTFS2 [--tool FILE] [--runs 5] [--only verify,gc]
    compare.py --work DIR --make-trees        (needs root, mmdebstrap, bubblewrap and the network)

Installs nothing: a peer whose program is not there has no row.  Everything is written below --work.
Contenders of one row take turns, run by run, each with a prepared start and with dirty pages flushed
before the clock; the page cache is warm.  Printed are the fastest run, the median, user and system
time of the fastest run, and the largest resident set.  The ratio is between the fastest runs.
"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time

PLAIN = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def sh(text, **more):
    """Runs a shell command outside the clock."""
    subprocess.run(["bash", "-ec", text], check=True, **{**PLAIN, **more})


def out(text):
    return subprocess.run(["bash", "-ec", text], check=True, capture_output=True, text=True).stdout


def have(program):
    return shutil.which(program) is not None


def size(path):
    """Bytes on disk, as du counts."""
    return int(out(f"du -s --block-size=1 '{path}'").split()[0])


class Contender:
    """A command to time: `prep` is not timed, `after` gives a note from the last run."""

    def __init__(self, name, command, prep="", after=None):
        self.name, self.command, self.prep, self.after = name, command, prep, after
        self.runs, self.note = [], ""

    def once(self):
        if self.prep:
            sh(self.prep)
        os.sync()
        start = time.perf_counter()
        child = subprocess.Popen(["bash", "-c", "set -e -o pipefail; " + self.command], **PLAIN)
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = status
        if status:
            raise SystemExit(f"{self.name} failed: {self.command}")
        self.runs.append((wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024))
        if self.after:
            self.note = self.after()

    def best(self):
        return min(self.runs)

    def median(self):
        return statistics.median(run[0] for run in self.runs)

    def memory(self):
        return max(run[2] for run in self.runs)


def row(work, runs, ours, peers, goal):
    """Runs all in turn and prints one line each; the first peer is what the goal speaks of."""
    for _ in range(runs):
        for contender in ours + peers:
            contender.once()
    for contender in ours + peers:
        wall, cpu, _ = contender.best()
        ratio = ""
        if contender in ours and peers:
            ratio = f"{wall / peers[0].best()[0]:.2f} x {peers[0].name}"
        print(
            f"| {work} | {contender.name} | {wall:.3f} | {contender.median():.3f} | {cpu:.2f} "
            f"| {contender.memory():.0f} | {ratio} | {goal if contender in ours else ''} "
            f"| {contender.note} |",
            flush=True,
        )


class Bench:
    def __init__(self, args):
        self.a = args
        self.w = os.path.abspath(args.work)
        self.t = os.path.abspath(args.tool)
        self.r, self.r2 = os.path.abspath(args.tree), os.path.abspath(args.next)
        self.s = f"{self.w}/ours"

    def tool(self, rest, store=None):
        return f"'{self.t}' '{store or self.s}' {rest}"

    def wipe(self, *names):
        paths = " ".join(f"'{self.w}/{name}'" for name in names)
        return f"for x in {paths}; do [ ! -e $x ] || {{ chmod -R u+rwX $x; rm -rf $x; }}; done; "

    def fresh(self):
        """A store of ours with the first tree."""
        return self.wipe("ours") + self.tool(f"import '{self.r}' r") + "; "

    def nix(self, command):
        n = f"{self.w}/nix"
        return (
            f"export NIX_STORE_DIR={n}/store NIX_STATE_DIR={n}/var NIX_LOG_DIR={n}/log NIX_REMOTE= "
            f"NIX_CONF_DIR={n}/etc NIX_LOCALSTATE_DIR={n}/var HOME={n}; " + command
        )

    def nix_fresh(self):
        n = f"{self.w}/nix"
        return (
            self.wipe("nix")
            + f"mkdir -p {n}/etc {n}/var/gcroots; "
            + f"printf 'sandbox = false\\nbuild-users-group =\\nsubstitute = false\\nsubstituters =\\n' > {n}/etc/nix.conf; "
            + self.nix("nix-store --init; ")
        )

    def nix_add(self):
        return self.nix(f"p=$(nix-store --add '{self.r}'); ln -sfn $p {self.w}/nix/var/gcroots/r")

    def restic(self, command):
        n = f"{self.w}/restic"
        return f"export RESTIC_REPOSITORY={n}/repo RESTIC_PASSWORD=x RESTIC_CACHE_DIR={n}/cache; " + command

    def restic_add(self, tree):
        return self.restic(f"cd '{tree}' && restic backup -q --host h .")

    def casync(self, tree, name):
        n = f"{self.w}/casync"
        return f"mkdir -p {n}; cd {n}; casync make --store=store {name}.caidx '{tree}'"

    # --- rows -----------------------------------------------------------------------------

    def import_(self):
        added = lambda: f"{size(self.s):,} bytes in the store"
        ours = [Contender("mstore", self.tool(f"import '{self.r}' r"), self.wipe("ours"), added)]
        peers = []
        if have("nix-store"):
            peers.append(Contender("Nix", self.nix_add(), self.nix_fresh()))
        if have("restic"):
            prep = self.wipe("restic") + self.restic("restic init; ")
            note = lambda: f"{size(self.w + '/restic/repo'):,} bytes in the store"
            peers.append(Contender("restic", self.restic_add(self.r), prep, note))
        row("first import", self.a.runs, ours, peers, "0.8")

    def repack(self):
        note = lambda: f"{size(self.s):,} bytes in the store"
        row("repack", 1, [Contender("mstore", self.tool("repack"), self.fresh(), note)], [], "bytes of restic")

    def again(self):
        ours = [Contender("mstore", self.tool(f"again '{self.r}' r"), self.tool(f"again '{self.r}' r"))]
        walk = Contender("walk", f"find '{self.r}' -printf '%s\\n'")
        row("import again, unchanged", self.a.runs, ours, [walk], "2")

    def next(self):
        before = {}

        def note(path):
            def difference():
                return f"{size(path) - before[path]:,} bytes added"

            return difference

        ours_repo, restic_repo = self.s, f"{self.w}/restic/repo"
        ours = [Contender("mstore", self.tool(f"import '{self.r2}' n"), self.fresh(), note(ours_repo))]
        sh(self.fresh())
        before[ours_repo] = size(ours_repo)
        peers = []
        if have("restic"):
            prep = self.wipe("restic") + self.restic("restic init; ") + self.restic_add(self.r)
            sh(prep)
            before[restic_repo] = size(restic_repo)
            peers.append(Contender("restic", self.restic_add(self.r2), prep, note(restic_repo)))
        row("import of the next stage", self.a.runs, ours, peers, "0.4 s, 3.2 MB")

    def link(self):
        sh(self.fresh() + self.tool(f"link r '{self.w}/first'"))
        ours = [Contender("mstore", self.tool(f"link r '{self.w}/farm'"), self.wipe("farm"))]
        peer = Contender("cp -al", f"cp -al '{self.w}/first' '{self.w}/cpl'", self.wipe("cpl"))
        row("checkout by hard links", self.a.runs, ours, [peer], "1")
        sh(self.wipe("first", "farm", "cpl"))

    def link_first(self):
        prep = self.fresh() + self.wipe("farm")
        ours = [Contender("mstore", self.tool(f"link r '{self.w}/farm'"), prep)]
        peer = Contender("cp -a", f"cp -a '{self.r}' '{self.w}/cpa'", self.wipe("cpa"))
        row("hard links, files not on disk yet", self.a.runs, ours, [peer], "")
        sh(self.wipe("farm", "cpa"))

    def copy(self):
        sh(self.fresh())
        peer = lambda: [Contender("cp -a", f"cp -a '{self.r}' '{self.w}/cpa'", self.wipe("cpa"))]
        ours = lambda: [Contender("mstore", self.tool(f"out r '{self.w}/out'"), self.wipe("out"))]
        row("copy out, from packs", self.a.runs, ours(), peer(), "1")
        sh(self.tool("checkout r"))
        row("copy out, a checkout is there", self.a.runs, ours(), peer(), "1")
        sh(self.wipe("out", "cpa"))

    def layer(self):
        sh(self.fresh() + self.tool("checkout r"))
        ours = [Contender("mstore", self.tool("checkout r"))]
        row("lower layer already there", self.a.runs, ours, [], "0.005 s")

    def verify(self):
        sh(self.fresh())
        peers = lambda: []
        if have("nix-store"):
            sh(self.nix_fresh() + self.nix_add())
            peers = lambda: [Contender("Nix", self.nix("nix-store --verify --check-contents"))]
        ours = lambda: [Contender("mstore", self.tool("verify"))]
        row("verify", self.a.runs, ours(), peers(), "1")
        sh(self.tool("repack"))
        row("verify, repacked", self.a.runs, ours(), peers(), "1")

    def gc(self):
        sh(self.fresh())
        prep = self.tool(f"import '{self.r2}' n") + "; " + self.tool("drop n")
        ours = [Contender("mstore", self.tool("gc"), prep)]
        peers = []
        if have("casync"):
            n = f"{self.w}/casync"
            sh(self.wipe("casync") + self.casync(self.r, "r"))
            prep = self.casync(self.r2, "n") + f"; rm {n}/n.caidx"
            peers.append(Contender("casync", f"cd {n}; casync gc --store=store *.caidx", prep))
        row("gc of the next stage", self.a.runs, ours, peers, "1")

    def gc_small(self):
        count = 500
        fill = f"{self.w}/fill"
        sh(f"mkdir -p {fill}; for i in $(seq {count}); do mkdir -p {fill}/$i; echo $i > {fill}/$i/f; done")
        sh(self.fresh())
        many = f"for i in $(seq {count}); do {self.tool(f'import {fill}/$i x')}; done; {self.tool('drop x')}"
        ours = [Contender("mstore", self.tool("gc"), many)]
        peers = []
        if have("nix-store"):
            sh(self.nix_fresh() + self.nix_add())
            peers.append(Contender("Nix", self.nix("nix-store --gc"), self.nix(f"nix-store --add {fill}/*")))
        row(f"gc of {count} small dead trees", min(3, self.a.runs), ours, peers, "1")
        sh(self.wipe("fill"))

    def export(self):
        sh(self.fresh())
        ours_file, peer_file = f"{self.w}/ours.tar.zst", f"{self.w}/peer.tar.zst"
        length = lambda path: lambda: f"{os.path.getsize(path):,} bytes"
        ours = [Contender("mstore", self.tool(f"tar r '{ours_file}' 3"), "", length(ours_file))]
        tar = (
            "tar --sort=name --mtime=@0 --clamp-mtime --numeric-owner --format=posix "
            "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime "
            f"-C '{self.r}' -cf - . | zstd -q -f -T0 -3 -o '{peer_file}'"
        )
        peers = [Contender("tar and zstd", tar, "", length(peer_file))] if have("zstd") else []
        row("export .tar.zst, level 3", self.a.runs, ours, peers, "0.8")
        sh(self.wipe("ours.tar.zst", "peer.tar.zst"))

    ROWS = ["import_", "repack", "again", "next", "link", "link_first", "copy", "layer", "verify", "gc", "gc_small", "export"]


def make_trees(work):
    """A Debian root with a C compiler, and the same with one package more. Nix and OSTree refuse
    device nodes, so that there are none."""
    first, second = f"{work}/rootfs", f"{work}/rootfs2"
    sh(
        f"mmdebstrap --variant=minbase --include=gcc,make,python3,perl,git bookworm {work}/rootfs.tar; "
        f"mkdir {first}; tar -xf {work}/rootfs.tar -C {first} --numeric-owner; "
        f"find {first}/dev -mindepth 1 -delete; cp -a {first} {second}",
        stderr=None,
    )
    sh(
        f"bwrap --bind {second} / --dev /dev --proc /proc --tmpfs /tmp --cap-add ALL "
        "--setenv DEBIAN_FRONTEND noninteractive --setenv PATH /usr/sbin:/usr/bin:/sbin:/bin /bin/sh -ec '"
        "apt-get -o APT::Sandbox::User=root update -qq; "
        "apt-get -o APT::Sandbox::User=root install -y -qq --no-install-recommends automake; "
        "apt-get clean; rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin'",
        stderr=None,
    )


def place_line(work):
    source, kind = out(f"findmnt -no SOURCE,FSTYPE -T '{work}'").split()
    note = ""
    if kind == "ext4" and have("dumpe2fs"):
        head = subprocess.run(["dumpe2fs", "-h", source], capture_output=True, text=True).stdout
        if "has_journal" not in head:
            note = " WITHOUT A JOURNAL: creating files after deletions is many times slower there"
    load = os.getloadavg()[0]
    return f"{kind}{note}, {os.cpu_count()} processors, Linux {os.uname().release}, load {load:.1f} at the start"


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    usual = os.path.join(here, "../../target/release/examples/store-tool")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True)
    parser.add_argument("--tree")
    parser.add_argument("--next")
    parser.add_argument("--tool", default=usual)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--make-trees", action="store_true")
    args = parser.parse_args()
    os.makedirs(args.work, exist_ok=True)
    if args.make_trees:
        make_trees(os.path.abspath(args.work))
        args.tree, args.next = f"{args.work}/rootfs", f"{args.work}/rootfs2"
    if not (args.tree and args.next):
        parser.error("--tree and --next, or --make-trees")
    bench = Bench(args)
    for tree in (bench.r, bench.r2):
        sh(f"find '{tree}' -type f -print0 | xargs -0 cat")
    print(place_line(bench.w) + "\n")
    print("| work | who | fastest, s | median, s | user+sys, s | MiB | ratio | goal | note |")
    print("|---|---|---:|---:|---:|---:|---|---|---|")
    wanted = [name.strip() for name in args.only.split(",") if name.strip()]
    for name in Bench.ROWS:
        if not wanted or name.strip("_") in wanted:
            getattr(bench, name)()
    sh(bench.wipe("ours", "nix", "restic", "casync"))


if __name__ == "__main__":
    sys.exit(main())
