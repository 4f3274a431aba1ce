# Builds one package: Portage's phases up to `install`, and what it does to an image before it is merged; then what is
# left is brought into one form and cut into folders. PACKAGE says which.
import grp
import json
import locale
import pwd
import runpy

OUT = "/package"
# What the short entry of the package database has: what has_version, best_version and := ask for.
VIEW = "EAPI IUSE IUSE_EFFECTIVE KEYWORDS PROVIDES SLOT USE repository".split()
HOOKS = ("preinst", "postinst")


def build(ebuild):
    """Portage's phases, by its own program, in this process: to start another one, and Portage once more for what comes
    after, takes longer than many a package."""
    program = program_of_portage()
    # Commands of Portage's that are run when a package is merged. It has a shell open after `install`, which knows them.
    from portage.package.ebuild.doebuild import _post_phase_cmds

    _post_phase_cmds["install"] = [*_post_phase_cmds["install"], *before_merge()]
    sys.argv = [program, "--skip-manifest", ebuild, "clean", "instprep"]
    sys.stdout.flush()
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        if end.code:
            sys.exit(end.code if isinstance(end.code, int) and 0 < end.code < 256 else 1)
    os.chdir("/")
    os.umask(0o022)


def program_of_portage():
    """The program `ebuild` for this Python. Where there are many, what is called so is none itself."""
    own = f"/usr/lib/python-exec/python{sys.version_info.major}.{sys.version_info.minor}/ebuild"
    program = own if os.path.exists(own) else shutil.which("ebuild")
    if program is None:
        sys.exit("the root has no program `ebuild`: packages are built by its Portage")
    return program


def may_mask():
    return PACKAGE["masks"] or set(PACKAGE["features"]) & {"nodoc", "noman", "noinfo"}


def before_merge():
    """What Portage does to an image when it merges it, as far as something asks for it."""
    features = set(PACKAGE["features"])
    asked = {"preinst_mask": may_mask(), "preinst_sfperms": "sfperms" in features, "preinst_suid_scan": "suidctl" in features}
    return [command for command, is_asked in asked.items() if is_asked]


def mask(image, record):
    """Takes out of an image what is masked, which Portage's shell wrote down."""
    if may_mask() and os.path.exists(f"{record}/INSTALL_MASK"):
        from portage.util.install_mask import InstallMask, install_mask_dir

        install_mask_dir(image, InstallMask(read(f"{record}/INSTALL_MASK").decode()))


def owners(image):
    """Paths whose owner is not root, with the names of user and group; numbers where there is no name."""
    def name(of, number):
        try:
            return of(number)[0]
        except KeyError:
            return str(number)

    for folder, folders, names in os.walk(image):
        folders.sort()
        for path in [os.path.join(folder, each) for each in sorted(folders + names)]:
            status = os.lstat(path)
            if status.st_uid or status.st_gid:
                yield [path[len(image):], name(pwd.getpwuid, status.st_uid), name(grp.getgrgid, status.st_gid)]


def sonames(path):
    """What an entry of the package database says that files need or bring."""
    if os.path.exists(path):
        for line in read(path).decode().splitlines():
            kind, _, names = line.partition(":")
            for each in names.split():
                yield f"{kind} {each}"


def ready_root():
    """What the layers brought is found by the loader and by programs, where no hooks were run that see to it."""
    if any(not os.path.exists(f"{entry}/CONTENTS") for entry in entries()):
        if environment_is_old(""):
            update_environment("/")
        else:
            subprocess.run(["ldconfig", "-X"], check=True)


def entries():
    return [entry for category in below("/var/db/pkg") for entry in below(category) if os.path.isdir(entry)]


def look_for_undeclared(record):
    """Says what the package is linked with that only the base brings: nothing says that a stage has it. An entry of the
    base has CONTENTS, one of a layer has not."""
    base, layers = {}, set()
    for entry in entries():
        for name in sonames(f"{entry}/PROVIDES"):
            if os.path.exists(f"{entry}/CONTENTS"):
                base[name] = entry
            else:
                layers.add(name)
    for name in sorted(set(sonames(f"{record}/REQUIRES")) - layers - set(sonames(f"{record}/PROVIDES"))):
        if name in base:
            owner = "/".join(base[name].split("/")[-2:])
            print(f"undeclared: {owner} ({name.split()[1]})", flush=True)


def split(image, record):
    """The folders of the result. All are there, though a package may have nothing for one."""
    for folder in ("image", "view", "record", "hooks"):
        os.makedirs(f"{OUT}/{folder}")
    for name in VIEW:
        if os.path.exists(f"{record}/{name}"):
            shutil.copyfile(f"{record}/{name}", f"{OUT}/view/{name}")
    phases = read(f"{record}/DEFINED_PHASES").split() if os.path.exists(f"{record}/DEFINED_PHASES") else []
    named = sorted(owners(image))
    if named:
        write(f"{OUT}/hooks/owners", json.dumps(named, separators=(",", ":")) + "\n")
    if any(phase.encode() in phases for phase in HOOKS):
        for name in ("environment.bz2", f"{PACKAGE['version']}.ebuild", "DEFINED_PHASES"):
            shutil.copyfile(f"{record}/{name}", f"{OUT}/hooks/{name}")
    for source, folder in ((image, "image"), (record, "record")):
        os.rmdir(f"{OUT}/{folder}")
        os.rename(source, f"{OUT}/{folder}")
        os.chown(f"{OUT}/{folder}", 0, 0)
        os.chmod(f"{OUT}/{folder}", 0o755)


def main():
    if {sys.getfilesystemencoding().lower(), locale.getpreferredencoding(False).lower()} != {"utf-8"}:
        # Portage's programs would start themselves again.
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    os.umask(0o022)
    category, version = PACKAGE["category"], PACKAGE["version"]
    work = f"/var/tmp/portage/{category}/{version}"
    image, record = f"{work}/image", f"{work}/build-info"
    ready_root()
    build(PACKAGE["ebuild"])
    mask(image, record)
    for _, _, normalise in OF_PACKAGES:
        normalise(image, record)
    look_for_undeclared(record)
    split(image, record)
    # What is left is nobody's, and takes time to be looked at.
    shutil.rmtree("/var/tmp/portage")


main()
