"""Asks Portage which packages a stage is made of, and writes the package graph.

It runs in the base: what is installed there is at /, the stage is an empty folder beside it, so an edge that ends at / is
a tool. Portage chooses; nothing here does. ASKED, which is put above this text, says what for:

    atoms      atoms and sets
    out        where the graph is written
    tools      "base" if what the base has serves as a tool, else "new"

It ends with 2 if Portage refuses, whose own words are then the output.
"""
import json
import os
import re
import shutil
import sys

sys.dont_write_bytecode = True
TARGET = "/var/tmp/packages-target"
os.environ.update(ROOT=TARGET, SYSROOT=TARGET, PORTAGE_CONFIGROOT="/", NOCOLOR="true", TERM="dumb", COLUMNS="120")
os.makedirs(TARGET, exist_ok=True)

import portage  # noqa: E402
from portage.dep import Atom, use_reduce  # noqa: E402
from portage.package.ebuild._config.special_env_vars import environ_filter  # noqa: E402
import portage.checksum  # noqa: E402
import portage.output  # noqa: E402
import _emerge.depgraph  # noqa: E402
from _emerge.actions import load_emerge_config  # noqa: E402
from _emerge.create_depgraph_params import create_depgraph_params  # noqa: E402
from _emerge.Package import Package  # noqa: E402
from _emerge.stdout_spinner import stdout_spinner  # noqa: E402

portage.output.nocolor()

FORMAT = 1
# Variables that the filter of Portage keeps from phases, and which change what is built all the same.
KEPT = {"INSTALL_MASK", "PKG_INSTALL_MASK"}
# Variables of a machine or of a run, and those that are said in another way.
DROPPED = {
    "ACCEPT_LICENSE",
    "DISTDIR", "FEATURES", "GENTOO_MIRRORS", "MAKEOPTS", "NINJAOPTS", "PKGDIR", "PORTDIR", "PORTDIR_OVERLAY", "PORTAGE_TMPDIR",
    "PROFILE_ONLY_VARIABLES", "ROOT", "RPMDIR", "SYSROOT", "USE", "USE_ORDER",
}
# Variables of a profile that Portage itself goes by.
OF_PROFILE = re.compile(
    r"ARCH|CBUILD|CHOST|CTARGET|DEFAULT_ABI|ELIBC|IUSE_IMPLICIT|KERNEL|MULTILIB_ABIS|USERLAND|USE_EXPAND(_.*)?|ABI|LIBDIR_.*|SYMLINK_LIB"
)
KINDS = {
    "build": ("buildtime", "buildtime_slot_op"),
    "install": ("installtime",),
    "post": ("runtime_post",),
    "run": ("runtime", "runtime_slot_op"),
}
DIGESTS = {"BLAKE2B": "blake2b", "SHA512": "sha512", "SHA256": "sha256"}


class Refused(Exception):
    """Something that people have to mend."""


def sort_out(path):
    """A path without links and doubled parts."""
    return os.path.realpath(path)


def depgraph(config, atoms, tools):
    """What Portage made of the atoms."""
    options = {"--oneshot": True, "--pretend": True, "--with-bdeps": "y", "--quiet": True, "--nospinner": True, "--color": "n"}
    options |= {"--ignore-default-opts": True, "--root-deps": False}
    if tools == "new":
        options["--emptytree"] = True
    options = {key: value for key, value in options.items() if value is not False}
    parameters = create_depgraph_params(options, None)
    ok, graph, _ = _emerge.depgraph.backtrack_depgraph(
        config.target_config.settings, config.trees, options, parameters, None, atoms, stdout_spinner()
    )
    if not ok:
        graph.display_problems()
        raise Refused("Portage cannot choose packages for: " + " ".join(atoms))
    return graph


def circles_too():
    """Packages are not installed one after another, so they need no order: what is in a circle with another is built with
    what the base has of it. Portage would end here."""
    class_, original = _emerge.depgraph.depgraph, _emerge.depgraph.depgraph.altlist

    def altlist(self):
        try:
            return original(self)
        except class_._unknown_internal_error:
            config = self._dynamic_config
            if config._circular_deps_for_display is None:
                raise
            config._circular_deps_for_display = None
            config._skip_restart = False
            every = [p for root in self._frozen_config.roots for p in config._package_tracker.all_pkgs(root)]
            config._serialized_tasks_cache = [p for p in every if p.operation == "merge"]
            config._scheduler_graph = config.digraph
            return config._serialized_tasks_cache

    class_.altlist = altlist


def old_ebuilds_too():
    """DEPEND of every ebuild is about the stage. That of old ones is about the root that they are built in, by which what
    they are linked with would be taken from the base, and would get old."""
    attributes = _emerge.depgraph._get_eapi_attrs
    _emerge.depgraph._get_eapi_attrs = lambda eapi: attributes(eapi)._replace(bdepend=True)


def merged(graph):
    """The packages that are to be installed, by identity."""
    found = [p for p in graph._dynamic_config.digraph.order if isinstance(p, Package) and p.operation == "merge"]
    return {identity(p): p for p in found}


def identity(package):
    root = "target" if sort_out(package.root) == sort_out(TARGET) else "base"
    category, _ = portage.catsplit(package.cpv)
    name, version = name_and_version(package.cpv)
    return (0 if root == "base" else 1, category, name, version, package.slot)


def name_and_version(cpv):
    _, name, version, revision = portage.catpkgsplit(cpv)
    return name, version if revision == "r0" else f"{version}-{revision}"


def check(graph, packages):
    """That `emerge --pretend` of this process lists the same packages."""
    config = graph._dynamic_config
    listed = {identity(p) for p in graph.altlist() if isinstance(p, Package) and p.operation == "merge"}
    if config._unsolvable_blockers:
        graph.display_problems()
        raise Refused("packages block each other")
    if listed != set(packages):
        more = sorted(listed ^ set(packages))
        raise Refused(
            f"Portage {portage.VERSION} lists other packages than are in its graph: "
            + " ".join(f"{category}/{name}-{version}:{slot}" for _, category, name, version, slot in more)
        )


def place_of(path, repositories, config_root="/etc/portage"):
    """A file of a repository or of the configuration."""
    path = sort_out(path)
    for repository in sorted(repositories, key=lambda r: -len(r.location)):
        location = sort_out(repository.location) + "/"
        if path.startswith(location):
            return {"path": path[len(location):], "repository": repository.name}
    location = sort_out(config_root) + "/"
    if path.startswith(location):
        return {"path": path[len(location):], "repository": None}
    raise Refused(f"{path} lies neither in a repository nor in {config_root}: a package cannot be built with it")


class Settings:
    """The settings of packages, each once."""

    def __init__(self, config):
        self.known, self.configs, self.repositories = {}, {}, list(config.target_config.settings.repositories)

    def of(self, package):
        settings = self.configs.get(package.root)
        if settings is None:
            settings = self.configs[package.root] = portage.config(clone=package.root_config.settings)
        settings.setcpv(package)
        text = json.dumps(self.value(package, settings), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return self.known.setdefault(text, text)

    def value(self, package, settings):
        names = set(settings.configdict["defaults"]) | set(settings.configdict["conf"])
        for name in settings._penv:
            names |= set(portage.util.getconfig(f"/etc/portage/env/{name}", tolerant=True, allow_sourcing=True) or ())
        expanded = set(settings.get("USE_EXPAND", "").split())
        profile, conf = {}, {}
        for name in sorted(names - DROPPED):
            value = settings.get(name)
            if value is None:
                continue
            if OF_PROFILE.fullmatch(name):
                profile[name] = " ".join(value.split())
            elif name not in expanded and (name not in environ_filter or name in KEPT):
                conf[name] = value
        return {
            "bashrcs": self.bashrcs(package, settings),
            "config": conf,
            "features": sorted(settings.features),
            "profile": profile,
        }

    def bashrcs(self, package, settings):
        category, version = portage.catsplit(package.cpv)
        name = package.cpv_split[1]
        of_package = (name, f"{name}:{package.slot}", version.removesuffix("-r0"), version)
        files = [*settings._pbashrc, "/etc/portage/bashrc", *(f"/etc/portage/env/{category}/{each}" for each in dict.fromkeys(of_package))]
        return [place_of(path, self.repositories) for path in files if os.path.isfile(path)]

    def sorted(self):
        """All of them, and the place of each."""
        values = sorted((json.loads(text) for text in self.known), key=settings_order)
        texts = [json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) for value in values]
        return values, {text: place for place, text in enumerate(texts)}


def settings_order(value):
    """As the reader sorts them: text by its bytes."""
    raw = str.encode
    files = [(raw(f["path"]), f["repository"] is not None, raw(f["repository"] or "")) for f in value["bashrcs"]]
    pairs = lambda table: sorted((raw(key), raw(text)) for key, text in table.items())  # noqa: E731
    return files, pairs(value["config"]), [raw(f) for f in value["features"]], pairs(value["profile"])


def blockers(package):
    found = set()
    for key in ("DEPEND", "BDEPEND", "RDEPEND", "PDEPEND", "IDEPEND"):
        text = package._metadata.get(key, "")
        if "!" in text:
            atoms = use_reduce(
                text, uselist=package.use.enabled, is_valid_flag=package.iuse.is_valid_flag, flat=True, eapi=package.eapi, token_class=Atom
            )
            found |= {str(atom) for atom in atoms if isinstance(atom, Atom) and atom.blocker}
    return sorted(found, key=str.encode)


def words(text, package):
    """RESTRICT or PROPERTIES for the flags of a package."""
    return sorted(set(use_reduce(text, uselist=package.use.enabled, is_valid_flag=package.iuse.is_valid_flag, flat=True, eapi=package.eapi)))


def edges(package, graph, places):
    found = {}
    for child, priorities in graph._dynamic_config.digraph.nodes[package][0].items():
        if not isinstance(child, Package) or identity(child) not in places or child.operation != "merge":
            continue
        kinds = found.setdefault(places[identity(child)], set())
        for priority in priorities:
            if not getattr(priority, "ignored", False):
                kinds |= {kind for kind, names in KINDS.items() if any(getattr(priority, name, False) for name in names)}
    own = places[identity(package)]
    return [{"kinds": sorted(kinds), "to": to} for to, kinds in sorted(found.items()) if kinds and to != own]


def distfiles(package, restrict, repositories):
    """The source archives, with what the Manifest says of them."""
    db = package.root_config.trees["porttree"].dbapi
    repository = db.repositories[package.repo]
    wanted = db.getFetchMap(package.cpv, package.use.enabled, mytree=repository.location)
    if not wanted:
        return []
    folder = os.path.join(repository.location, package.cp)
    manifest = repository.load_manifest(folder, "/nonexistent")
    known, found = manifest.getTypeDigests("DIST"), []
    mirrors = package.root_config.settings.thirdpartymirrors()
    for name in sorted(wanted, key=str.encode):
        entry = known.get(name)
        digests = sorted(f"{DIGESTS[key]}:{text.lower()}" for key, text in (entry or {}).items() if key in DIGESTS)
        if not digests:
            raise Refused(f"{package.cpv}: the Manifest says nothing of {name}; `ebuild FILE manifest` writes it")
        local = next((place for r in repositories if (place := in_repository(r, name, entry))), None)
        if "fetch" in restrict and local is None:
            raise Refused(
                f"{package.cpv}: {name} may be fetched by people only (RESTRICT=fetch); put it into the folder `distfiles` of the snapshot"
            )
        found.append({"digests": digests, "local": local, "name": name, "size": int(entry["size"]), "urls": addresses(wanted[name], mirrors)})
    return found


def in_repository(repository, name, entry):
    """Where a repository brings an archive along that is the right one."""
    path = f"{repository.location}/distfiles/{name}"
    if not os.path.isfile(path):
        return None
    ok, reason = portage.checksum.verify_all(path, dict(entry))
    if not ok:
        raise Refused(f"{path} is not the file that the Manifest speaks of: {reason[0]}: {reason[1]}, not {reason[2]}")
    return {"path": f"distfiles/{name}", "repository": repository.name}


def addresses(uris, mirrors):
    found = []
    for uri in uris:
        if uri.startswith("mirror://"):
            mirror, _, rest = uri[len("mirror://"):].partition("/")
            found += [f"{each.rstrip('/')}/{rest}" for each in mirrors.get(mirror, ())]
        else:
            found.append(uri.removeprefix("mirror+").removeprefix("fetch+"))
    return [uri for uri in dict.fromkeys(found) if re.match(r"https?://|ftp://|file:/", uri)]


def patches(package):
    """Patches of the configuration that Portage would apply to a package."""
    name, version = package.cpv_split[1], portage.catsplit(package.cpv)[1]
    category = portage.catsplit(package.cpv)[0]
    found = set()
    for each in (version, version.removesuffix("-" + package.cpv_split[3]), name):
        for slot in ("", f":{package.slot}"):
            folder = f"/etc/portage/patches/{category}/{each}{slot}"
            if os.path.isdir(folder):
                found |= {f"{category}/{each}{slot}/{file}" for file in os.listdir(folder) if file.endswith((".patch", ".diff"))}
    return sorted(found, key=str.encode)


def entry(package, graph, places, settings):
    category, name, version = identity(package)[1:4]
    db = package.root_config.trees["porttree"].dbapi
    repository = db.repositories[package.repo]
    restrict, properties = words(package._metadata["RESTRICT"], package), words(package._metadata["PROPERTIES"], package)
    if "live" in properties:
        raise Refused(f"{package.cpv} is built of whatever its sources are today (PROPERTIES=live); mask it, or ask for another version")
    eclasses = repository.eclass_db.eclasses
    inherits = [{"name": each, "repository": eclass_repository(eclasses[each].location, db.repositories)} for each in sorted(package.inherited)]
    return {
        "blockers": blockers(package),
        "category": category,
        "distfiles": distfiles(package, restrict, list(db.repositories)),
        "eapi": package.eapi,
        "edges": edges(package, graph, places),
        "inherits": inherits,
        "name": name,
        "patches": patches(package),
        "phases": sorted(set(package.defined_phases) - {"-"}),
        "properties": properties,
        "repository": package.repo,
        "restrict": restrict,
        "root": "target" if identity(package)[0] else "base",
        "settings": settings.of(package),
        "slot": package.slot,
        "sub_slot": package.sub_slot or package.slot,
        "use": sorted(package.use.enabled, key=str.encode),
        "version": version,
    }


def eclass_repository(location, repositories):
    folder = os.path.dirname(os.path.dirname(sort_out(location)))
    for repository in repositories:
        if sort_out(repository.location) == folder:
            return repository.name
    raise Refused(f"{location} is in none of the repositories")


def installed(trees):
    db, found = trees["/"]["vartree"].dbapi, []
    for cpv in db.cpv_all():
        slot, = db.aux_get(cpv, ["SLOT"])
        name, version = name_and_version(cpv)
        slot, _, sub_slot = slot.partition("/")
        found.append({"category": portage.catsplit(cpv)[0], "name": name, "slot": slot, "sub_slot": sub_slot or slot, "version": version})
    return sorted(found, key=lambda p: [p[key].encode() for key in ("category", "name", "slot", "sub_slot", "version")])


def wanted(graph, atoms, places):
    """The package for each atom, after sets were written out."""
    config, found = graph._dynamic_config, set()
    for argument in config._initial_arg_list:
        for atom in argument.pset.getAtoms():
            for package in config._package_tracker.match(argument.root_config.root, atom):
                if identity(package) in places:
                    found.add((str(atom), places[identity(package)]))
    return [{"atom": atom, "package": place} for atom, place in sorted(found, key=lambda pair: (pair[0].encode(), pair[1]))]


def order(key):
    return key[0], *(part.encode() for part in key[1:])


def resolve(asked):
    old_ebuilds_too()
    circles_too()
    config = load_emerge_config(action=None, args=asked["atoms"], opts={"--quiet": True, "--ignore-default-opts": True})
    graph = depgraph(config, asked["atoms"], asked["tools"])
    packages = merged(graph)
    check(graph, packages)
    sorted_ids = sorted(packages, key=order)
    places = {key: place for place, key in enumerate(sorted_ids)}
    settings = Settings(config)
    entries = [entry(packages[key], graph, places, settings) for key in sorted_ids]
    values, place_of_text = settings.sorted()
    for each in entries:
        each["settings"] = place_of_text[each["settings"]]
    used = {each["repository"] for each in entries} | {eclass["repository"] for each in entries for eclass in each["inherits"]}
    used |= {file["repository"] for value in values for file in value["bashrcs"] if file["repository"]}
    used |= {file["local"]["repository"] for each in entries for file in each["distfiles"] if file["local"]}
    repositories = [r for r in config.target_config.settings.repositories if r.name in used]
    return {
        "base": installed(config.trees),
        "format": FORMAT,
        "packages": entries,
        "repositories": [
            {"at": r.location.rstrip("/"), "masters": [m.name for m in r.masters if m.name in used], "name": r.name} for r in sorted(repositories, key=lambda r: r.name.encode())
        ],
        "settings": values,
        "wanted": wanted(graph, asked["atoms"], places),
    }


def main():
    asked = ASKED  # noqa: F821
    try:
        graph = resolve(asked)
    except (Refused, portage.exception.PortageException) as error:
        sys.stdout.flush()
        print(f"resolve: {error}", file=sys.stderr)
        sys.exit(2)
    os.makedirs(os.path.dirname(asked["out"]), exist_ok=True)
    with open(asked["out"], "w", encoding="utf8") as file:
        json.dump(graph, file, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        file.write("\n")
    print(f"{len(graph['packages'])} packages, {sum(len(p['edges']) for p in graph['packages'])} edges")
    shutil.rmtree(TARGET)


main()
