"""Signatures: by gpg with a key made here, and by the keys of the program itself."""

import base64
import json
import os
import shutil
import subprocess

from world import World, main, same, told

DAY = "2026-11-20"
STAGE3 = f"stage3-s-b-{DAY}.tar.gz"


def gpg(home, *words):
    return subprocess.run(["gpg", "--homedir", home, "--batch", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def with_key(world):
    """Makes a key, and says in the configuration that it signs."""
    home = world.dir / "gnupg"
    home.mkdir(mode=0o700)
    made = gpg(home, "--passphrase", "", "--quick-generate-key", "Mirror <mirror@example.org>", "ed25519", "sign", "never")
    same((made.returncode, made.stderr if made.returncode else ""), (0, ""))
    config = world.home / ".config/mstore/mstore.conf"
    config.parent.mkdir(parents=True)
    config.write_text(f"[section repo]\ngpg-key: mirror@example.org\ngpg-home: {home}\n")
    return home, config


def stop(home):
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"])


def test_archives_are_signed_by_gpg():
    if not shutil.which("gpg"):
        print("skipped: there is no gpg")
        return
    with World(subarches="s", targets="stage3") as world:
        home, config = with_key(world)
        try:
            same(world.repo(DAY, "next").returncode, 0)
            folder = world.path("b/a/s", DAY)
            checked = gpg(home, "--verify", folder / f"{STAGE3}.gpg", folder / STAGE3)
            same(checked.returncode, 0)
            # The link to the newest one has links to both.
            latest = world.path("b/a/s/stage3-latest.tar.gz")
            same(gpg(home, "--verify", f"{latest}.gpg", latest).returncode, 0)
            same(world.ok("repo", "digestgen"), "")
            # digestgen makes what is lacking, and what is older than its archive; a changed archive does not verify.
            os.unlink(folder / f"{STAGE3}.gpg")
            assert f"signed {folder / STAGE3}" in world.ok("repo", "digestgen")
            same(gpg(home, "--verify", folder / f"{STAGE3}.gpg", folder / STAGE3).returncode, 0)
            (folder / STAGE3).write_bytes(b"another")
            same(gpg(home, "--verify", folder / f"{STAGE3}.gpg", folder / STAGE3).returncode, 1)
            told_json = json.loads(world.ok("repo", "digestgen", "--json"))
            same(told_json["signed"], [str(folder / STAGE3)])
            same(gpg(home, "--verify", folder / f"{STAGE3}.gpg", folder / STAGE3).returncode, 0)
            # Without its archive a signature goes.
            (folder / STAGE3).unlink()
            world.ok("repo", "digestgen")
            same([n for n in os.listdir(folder) if n.startswith("stage3")], [])
            # A key that is not there: nothing is published, and nothing is counted.
            config.write_text(f"[section repo]\ngpg-key: nobody@example.org\ngpg-home: {home}\n")
            done = world.repo("2026-11-25", "next")
            same(done.returncode, 3)
            assert "gpg does not sign with the key `nobody@example.org`" in done.stderr, told(done)
            same(world.path("b/a/s/2026-11-25").exists(), False)
            same(sorted(os.listdir(world.path("b/a/s/.control"))), ["version"])
            config.write_text(f"[section repo]\ngpg-key: mirror@example.org\ngpg-home: {home}\n")
            same(world.repo("2026-11-25", "next").returncode, 0)
            same(gpg(home, "--verify", f"{latest}.gpg", latest).returncode, 0)
        finally:
            stop(home)


def test_where_archives_come_from_is_signed_by_our_own_keys():
    with World(subarches="s", targets="stage1 stage3") as world:
        public = world.ok("key", "generate", "release-2026", "--out", str(world.dir / "key")).strip()
        config = world.home / ".config/mstore/mstore.conf"
        config.parent.mkdir(parents=True)
        config.write_text(f"[section sign]\nkey: {world.dir}/key\n")
        same(world.repo(DAY, "next").returncode, 0)
        provenance = json.loads(world.text("b/a/s", DAY, "provenance.json"))
        same(list(provenance["signatures"]), ["release-2026"])
        signature = base64.b64decode(provenance["signatures"]["release-2026"])
        # The signature is over the same without signatures, as one line: what another program would check.
        statement = json.dumps({**provenance, "signatures": {}}, separators=(",", ":")).encode()
        statement = b"mstore 2026 statement\nmstore 2026 repo provenance\n" + statement
        key = base64.b64decode(public.split(":")[1])
        files = {}
        for name, content in {"statement": statement, "signature": signature}.items():
            files[name] = world.dir / name
            files[name].write_bytes(content)
        # A key of ed25519 as openssl reads it: a fixed beginning and the 32 bytes.
        der = bytes.fromhex("302a300506032b6570032100") + key
        (world.dir / "public.der").write_bytes(der)
        words = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", world.dir / "public.der",
                 "-rawin", "-sigfile", files["signature"], "-in", files["statement"]]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        same((done.returncode, done.stdout.strip()), (0, "Signature Verified Successfully"))
        files["statement"].write_bytes(statement.replace(b"stage3", b"stage9", 1))
        same(subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).returncode, 1)


if __name__ == "__main__":
    main(globals())
