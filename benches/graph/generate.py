#!/usr/bin/env python3
"""Writes a specification of N trivial steps, the seed that it starts from, and files of the same size for ninja and Nix.

    generate.py N DIR [--steps 10] [--targets 10]

Every subarch has `--targets` targets, and every target a chain of `--steps` steps that each write one file.
DIR gets `metro.conf`, `seed/` (a shell and what it needs), `build.ninja` and `default.nix`, whose chains have
the same shape.  What is written depends on the arguments alone, but for the shell, which is that of this machine.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def specification(subarches, targets, steps):
    """The entry file: subarch x target x step, each step with a script of its own."""
    lines = [
        "[section list]",
        "builds: bench",
        "arches: x86-64bit",
        "subarches/x86-64bit: [",
        *(f"a{n}" for n in range(subarches)),
        "]",
        "targets: " + " ".join(f"t{n}" for n in range(targets)),
        "",
        "[section target]",
        f"platform: {os.uname().machine}",
        "",
        "[section source]",
        ": seed",
        "seed: bench",
        "",
        "[section steps]",
        "chroot: " + " ".join(f"s{n}" for n in range(steps)),
        "",
        "[section steps/chroot]",
    ]
    for step in range(steps):
        lines += [f"s{step}: [", f"echo $[target] $[target/subarch] {step} > /made", "]"]
    return "\n".join(lines) + "\n"


def ninja(subarches, targets, steps):
    """The same chains, each step a touched file."""
    lines = ["rule touch", "  command = touch $out", ""]
    for subarch in range(subarches):
        for target in range(targets):
            last = ""
            for step in range(steps):
                out = f"o/a{subarch}-t{target}-s{step}"
                lines.append(f"build {out}: touch {last}".rstrip())
                last = out
    return "\n".join(lines) + "\n"


def nix(subarches, targets, steps):
    """The same chains as derivations of Nix, each step with the one before it as an input."""
    return f"""let
  step = target: root: n: derivation {{
    name = "${{target}}-s${{toString n}}";
    system = "builtin";
    builder = "/bin/sh";
    args = [ "-c" "echo ${{target}} ${{toString n}} > $out" ];
    inherit root;
  }};
  chain = subarch: target:
    builtins.foldl' (step "t${{toString target}}-a${{toString subarch}}") "seed" (builtins.genList (n: n) {steps});
in builtins.concatMap (subarch: builtins.genList (chain subarch) {targets}) (builtins.genList (n: n) {subarches})
"""


def seed(folder):
    """A root with nothing but /bin/sh, the libraries that it is linked with, and an empty /tmp."""
    shutil.rmtree(folder, ignore_errors=True)
    shell = os.path.realpath("/bin/sh")
    linked = subprocess.run(["ldd", shell], capture_output=True, text=True, check=False).stdout
    files = {"/bin/sh": shell}
    for path in re.findall(r"(/\S+) \(0x", linked):
        files[path] = os.path.realpath(path)
    for at, source in files.items():
        to = folder + at
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copyfile(source, to)
        os.chmod(to, 0o755)
    os.makedirs(folder + "/tmp", exist_ok=True)
    for top, folders, names in os.walk(folder):
        for name in folders + names:
            os.utime(os.path.join(top, name), (1, 1))
    os.utime(folder, (1, 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nodes", type=int)
    parser.add_argument("dir")
    parser.add_argument("--steps", type=int, default=10, help="steps of a target")
    parser.add_argument("--targets", type=int, default=10, help="targets of a subarch")
    args = parser.parse_args()
    subarches, rest = divmod(args.nodes, args.steps * args.targets)
    if rest or subarches < 1:
        sys.exit(f"{args.nodes} is not a multiple of {args.steps} steps x {args.targets} targets")
    os.makedirs(args.dir, exist_ok=True)
    write(os.path.join(args.dir, "metro.conf"), specification(subarches, args.targets, args.steps))
    write(os.path.join(args.dir, "build.ninja"), ninja(subarches, args.targets, args.steps))
    write(os.path.join(args.dir, "default.nix"), nix(subarches, args.targets, args.steps))
    seed(os.path.join(args.dir, "seed"))


if __name__ == "__main__":
    main()
