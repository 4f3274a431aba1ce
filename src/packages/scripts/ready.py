# Makes a root ready that was composed of packages: what each runs where it is installed is run in its order, by Portage's
# own phases from the environment that the build saved; then what is made of files of many is made, and what no two runs
# leave alike is removed. MEMBERS are the packages, in order; ROOT is where they are; STAGE is 1 where full entries stay.
import json

PARTS = "/package"


def find(table, name):
    """The number of a name in a table of the root; names that are numbers had none where the package was built."""
    if name.isdigit():
        return int(name)
    path = f"{ROOT}/etc/{table}"
    for line in read(path).decode("utf8", "replace").splitlines() if os.path.exists(path) else []:
        fields = line.split(":")
        if len(fields) > 2 and fields[0] == name and fields[2].isdigit():
            return int(fields[2])
    sys.exit(f"{path} has no {name}, who owns files of a package")


def own(member):
    """Gives files to their owners by name, as this root numbers them."""
    note = f"{PARTS}/hooks/{member['category']}/{member['version']}/owners"
    if not os.path.exists(note):
        return
    top = os.path.realpath(ROOT)
    for path, user, group in json.loads(read(note)):
        folder = os.path.realpath(f"{ROOT}/{os.path.dirname(path)}")
        if os.path.commonpath([top, folder]) != top:
            sys.exit(f"{path} leads out of the root")
        place = os.path.join(folder, os.path.basename(path))
        if not os.path.lexists(place):
            continue
        wanted, status = (find("passwd", user), find("group", group)), os.lstat(place)
        if (status.st_uid, status.st_gid) != wanted:
            os.lchown(place, *wanted)
            if not stat.S_ISLNK(status.st_mode):
                # To give a file away takes its special bits.
                os.chmod(place, stat.S_IMODE(status.st_mode))


def listed(image):
    """What an image is, as far as a hook could change it."""
    found = {}
    for folder, folders, names in os.walk(image):
        for name in folders + names:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            is_folder = stat.S_ISDIR(status.st_mode)
            found[path[len(image):]] = (status.st_mode, status.st_uid, status.st_gid, is_folder or (status.st_size, status.st_ctime_ns))
    return found


def take_over(image, before):
    """A hook may change the image before it is merged: what it did is done in the root, where the image is already."""
    after = listed(image)
    for path in sorted(before.keys() - after.keys(), reverse=True):
        place = f"{ROOT}{path}"
        if os.path.isdir(place) and not os.path.islink(place):
            if not os.listdir(place):
                os.rmdir(place)
        else:
            remove(place)
    for path in sorted(path for path in after if after[path] != before.get(path)):
        if stat.S_ISDIR(after[path][0]):
            os.makedirs(f"{ROOT}{path}", exist_ok=True)
            shutil.copystat(f"{image}{path}", f"{ROOT}{path}")
            os.chown(f"{ROOT}{path}", *after[path][1:3])
        else:
            subprocess.run(["cp", "-a", "--remove-destination", f"{image}{path}", f"{ROOT}{path}"], check=True)
    return before != after


class Hooks:
    """Portage, started once."""

    def __init__(self):
        os.environ["ROOT"] = ROOT
        import portage
        from _emerge.EbuildPhase import EbuildPhase
        from portage.package.ebuild.doebuild import doebuild_environment
        from portage.package.ebuild.prepare_build_dirs import prepare_build_dirs
        from portage.util._async.SchedulerInterface import SchedulerInterface
        from portage.util._eventloop.global_event_loop import global_event_loop

        self.portage, self.phase, self.environment, self.folders = portage, EbuildPhase, doebuild_environment, prepare_build_dirs
        self.scheduler = SchedulerInterface(global_event_loop())
        self.root = portage.root
        self.database = portage.db[self.root]["vartree"].dbapi

    def settings(self, category, version, ebuild, phase):
        settings = self.portage.config(clone=self.portage.db[self.root]["vartree"].settings)
        settings.setcpv(f"{category}/{version}", mydb=self.database)
        for name in ("EMERGE_FROM", "MERGE_TYPE"):
            settings[name] = "binary"
            settings.configdict["pkg"][name] = "binary"
        self.environment(ebuild, phase, settings=settings, db=self.database)
        settings["REPLACING_VERSIONS"] = ""
        return settings

    def run(self, member, between):
        category, version = member["category"], member["version"]
        place = f"{PARTS}/hooks/{category}/{version}"
        ebuild = f"{place}/{version}.ebuild"
        defined = read(f"{place}/DEFINED_PHASES").decode().split()
        phases = [phase for phase in ("setup", "preinst", "postinst") if phase in defined]
        settings = self.settings(category, version, ebuild, phases[0])
        self.folders(settings=settings, cleanup=1)
        write(os.path.join(settings["T"], "environment"), bz2.decompress(read(f"{place}/environment.bz2")))
        image = settings["D"].rstrip("/")
        remove(image)
        part = f"{PARTS}/images/{category}/{version}"
        before = listed(part)
        if os.path.isdir(part):
            os.symlink(part, image)
        else:
            os.makedirs(image)
        for phase in phases:
            if phase == "postinst":
                between()
                between = lambda: None
            self.environment(ebuild, phase, settings=settings, db=self.database)
            running = self.phase(background=False, phase=phase, scheduler=self.scheduler, settings=settings)
            running.start()
            if running.wait():
                print(f"mstore: pkg_{phase} of {category}/{version} failed", file=sys.stderr, flush=True)
                sys.exit(1)
            if phase == "preinst":
                record = f"{ROOT}/var/db/pkg/{category}/{version}"
                if take_over(part, before) and os.path.exists(f"{record}/CONTENTS"):
                    contents(part, record)
        between()
        if os.path.islink(image):
            os.unlink(image)
        shutil.rmtree(settings["PORTAGE_BUILDDIR"])


def has_hook(member):
    return member["hooks"] and os.path.exists(f"{PARTS}/hooks/{member['category']}/{member['version']}/environment.bz2")


def sonames(entry, name):
    """What an entry of the package database says that its files need or bring: CLASS NAME each."""
    path = f"{entry}/{name}"
    for line in read(path).decode().splitlines() if os.path.exists(path) else []:
        kind, _, names = line.partition(":")
        for each in names.split():
            yield f"{kind} {each}"


def entries(root):
    return [entry for category in below(f"{root}/var/db/pkg") for entry in below(category) if os.path.isdir(entry)]


def look_for_libraries():
    """A stage has what its packages are linked with. What a seed brings that does not say which packages it is made of is
    not known to be missing."""
    here = {name for entry in entries(ROOT) for name in sonames(entry, "PROVIDES")}
    base = {name: entry for entry in entries("/") for name in sonames(entry, "PROVIDES")}
    bad = False
    for member in MEMBERS:
        package = f"{member['category']}/{member['version']}"
        for name in sorted(set(sonames(f"{ROOT}/var/db/pkg/{package}", "REQUIRES")) - here):
            library = name.split()[1]
            if name in base:
                owner = "/".join(base[name].split("/")[-2:])
                print(f"mstore: {package} is linked with {library} of {owner}, which the stage does not have", flush=True)
                bad = True
            elif is_in_library_folder(ROOT, library):
                continue
            elif is_in_library_folder("/", library):
                print(f"mstore: {package} needs {library}, which no package of the stage brings", flush=True)
            else:
                print(f"mstore: {package} is linked with {library}, which is nowhere", flush=True)
                bad = True
    if bad:
        sys.exit(1)


def is_in_library_folder(root, name):
    """Also in folders of one machine, such as those of Debian."""
    folders = [f"{root}/{folder}" for folder in ("lib", "lib32", "lib64", "usr/lib", "usr/lib32", "usr/lib64", "usr/local/lib")]
    machines = [each for folder in folders if os.path.isdir(folder) for each in below(folder) if "-linux-" in os.path.basename(each)]
    return any(os.path.exists(f"{folder}/{name}") for folder in folders + machines)


def main():
    os.umask(0o022)
    hooks = None
    for member in MEMBERS:
        if has_hook(member):
            hooks = hooks or Hooks()
            hooks.run(member, lambda: own(member))
        else:
            own(member)
    os.environ["ROOT"] = ROOT
    if STAGE or environment_is_old(ROOT):
        update_environment(ROOT)
    elif MEMBERS:
        subprocess.run(["ldconfig", "-X", "-r", ROOT], check=True)
    if STAGE:
        look_for_libraries()
        for position, member in enumerate(MEMBERS, 1):
            write(f"{ROOT}/var/db/pkg/{member['category']}/{member['version']}/COUNTER", str(position))
        os.makedirs(f"{ROOT}/var/lib/portage", exist_ok=True)
        write(f"{ROOT}/var/lib/portage/world", "".join(f"{atom}\n" for atom in WORLD))
    for _, _, normalise in OF_ROOTS:
        normalise(ROOT.rstrip("/"))
    shutil.rmtree(PARTS, ignore_errors=True)
    shutil.rmtree("/var/tmp/portage", ignore_errors=True)


main()
