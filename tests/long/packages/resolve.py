#!/usr/bin/env python3
"""Asks Portage what packages declare; runs in the base.

    resolve.py PACKAGES VIEWS OUT

PACKAGES and VIEWS name packages (CATEGORY/NAME), one a line. For each of PACKAGES the newest version is taken whose archives
are all there. OUT is JSON: `packages` with what the build needs to know, `views` with entries of a package database, of those
of VIEWS that any of the packages needs.
`closure` are the packages of DEPEND and what these need at run time, transitively, and what BDEPEND itself names.
"""
import json
import os
import sys

import portage

DB = portage.db["/"]["porttree"].dbapi
DISTFILES = "/var/cache/distfiles"


def names(path):
    return [line.split()[0] for line in open(path, encoding="utf8") if line.strip() and line[0] != "#"]


def configured(cpv):
    settings = portage.config(clone=portage.settings)
    settings.setcpv(cpv, mydb=DB)
    return settings


def chosen(dependencies, settings):
    """The packages that Portage would take for a string of dependencies: [atom]."""
    ok, atoms = portage.dep_check(dependencies, None, settings, myuse=settings["PORTAGE_USE"].split(), myroot="/", trees=portage.db)
    if not ok:
        raise ValueError(atoms)
    return [atom for atom in atoms if not atom.blocker]


class Needed:
    """What packages need at run time, remembered."""

    def __init__(self):
        self.memo, self.missing = {}, set()

    def of(self, atom):
        """The packages that a package needs at run time itself."""
        best = DB.xmatch("bestmatch-visible", atom.without_use) or (DB.xmatch("match-all", atom.without_use) or [None])[-1]
        if best is None:
            self.missing.add(atom.cp)
            return []
        if best not in self.memo:
            self.memo[best] = []
            self.memo[best] = chosen(DB.aux_get(best, ["RDEPEND"])[0], configured(best))
        return self.memo[best]

    def closure(self, atoms):
        found, left = {}, list(atoms)
        while left:
            atom = left.pop()
            if atom.cp not in found:
                found[atom.cp] = True
                left.extend(self.of(atom))
        return sorted(found)


def best_with_archives(name):
    for cpv in reversed(DB.cp_list(name)):
        settings = configured(cpv)
        archives = sorted(DB.getFetchMap(cpv, useflags=set(settings["PORTAGE_USE"].split())))
        if "9999" not in cpv and all(os.path.exists(f"{DISTFILES}/{a}") for a in archives):
            return cpv, settings, archives
    return None, None, None


def package(name, needed):
    cpv, settings, archives = best_with_archives(name)
    if cpv is None:
        return {"name": name, "left_out": "not a version whose archives are all there"}
    keys = ["DEPEND", "BDEPEND", "RDEPEND", "EAPI", "INHERITED", "IUSE", "SLOT"]
    values = dict(zip(keys, DB.aux_get(cpv, keys)))
    depend, bdepend, rdepend = (chosen(values[key], settings) for key in keys[:3])
    libraries = needed.closure(depend)
    return {
        "name": name,
        "cpv": cpv,
        "archives": archives,
        "use": sorted(settings["PORTAGE_USE"].split()),
        "inherited": sorted(values["INHERITED"].split()),
        "depend": sorted({a.cp for a in depend}),
        "bdepend": sorted({a.cp for a in bdepend}),
        "run": needed.closure(rdepend),
        "closure": sorted(set(libraries) | {a.cp for a in bdepend}),
    }


def view(name):
    cpv = DB.xmatch("bestmatch-visible", name)
    if not cpv:
        return None
    keys = ["EAPI", "SLOT", "IUSE", "KEYWORDS"]
    entry = dict(zip(keys, DB.aux_get(cpv, keys)))
    entry |= {"USE": " ".join(sorted(configured(cpv)["PORTAGE_USE"].split())), "repository": "gentoo", "PF": cpv.split("/")[1], "CATEGORY": cpv.split("/")[0]}
    return {"cpv": cpv, "entry": entry}


def main():
    packages, views, out = sys.argv[1:]
    needed, found = Needed(), []
    for name in names(packages):
        try:
            found.append(package(name, needed))
        except Exception as error:  # a package whose settings cannot be had is one that is not tried
            found.append({"name": name, "left_out": f"{type(error).__name__}: {error}"})
        print(name, found[-1].get("cpv") or found[-1]["left_out"], file=sys.stderr, flush=True)
    used = {name for one in found for name in one.get("closure", [])} & set(names(views))
    entries = {name: entry for name in sorted(used) if (entry := view(name))}
    with open(out, "w", encoding="utf8") as file:
        json.dump({"packages": found, "views": entries, "not_in_tree": sorted(needed.missing)}, file, indent=1, sort_keys=True)


main()
