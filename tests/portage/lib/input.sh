# The seed with real Portage, and the tree with its source archives; sourced. Addresses are those of the
# machine's own configuration of apt and pip.

# The version that the assertions were written for, and its archive.
portage_version=3.0.83
portage_sha256=deac3ae1e03aea1ff09a0e831fa8d06e89bfc49440394b66ed6223338d5f9c4e

# make_seed DIR: a Debian root with a compiler and Portage
make_seed() {
    [ ! -e "$1/.done" ] || return 0
    rm -rf "$1"
    mmdebstrap --quiet --variant=minbase \
        --include=gcc,libc6-dev,make,python3,python-is-python3,pax-utils,gawk,patch,file,xz-utils,bzip2,zstd,libcap2-bin,attr,meson,openrc,squashfs-tools,e2fsprogs,passwd \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        bookworm "$1"
    python3 -m pip download --quiet --no-deps --no-binary portage "portage==$portage_version" -d "$work/pip"
    echo "$portage_sha256  $work/pip/portage-$portage_version.tar.gz" | sha256sum --check --quiet
    tar -C "$1/usr/src" -xf "$work/pip/portage-$portage_version.tar.gz"
    chroot "$1" /bin/sh -ec '
        cd /usr/src/portage-*
        meson setup build --prefix=/usr --sysconfdir=/etc -Dnative-extensions=false \
            --python.purelibdir=/usr/lib/python3/dist-packages > /dev/null
        meson install -C build > /dev/null
        rm -rf /usr/src/portage-* /usr/share/portage/config/repos.conf
        # Portage calls these by the names that they have in Gentoo.
        for tool in tar patch xargs sed make find; do ln -sf "$tool" "/usr/bin/g$tool"; done
        groupadd -g 250 portage
        useradd -r -u 250 -g 250 -d /var/tmp/portage -s /usr/sbin/nologin portage'
    rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*
    touch "$1/.done"
}

# pack_seed DIR FILE
pack_seed() {
    [ -s "$2" ] || tar -C "$1" --numeric-owner --exclude=./dev/* --exclude=./.done -cf "$2" .
}

# pack_stand_in DIR FILE: what the package sys-devel/stand-in has of the seed. The rest belongs to other
# packages, or no stage needs it.
pack_stand_in() {
    [ -s "$2" ] || tar -C "$1" --numeric-owner --sort=name -cf "$2" -I 'zstd -1' \
        --exclude=./usr/lib/x86_64-linux-gnu/{gconv,perl} --exclude=./usr/share/{perl,perl5} \
        --exclude=./usr/share/{bug,lintian,zoneinfo,bash-completion,doc,info,man,locale,common-licenses} \
        --exclude=./usr/lib/python3/dist-packages/{mesonbuild,setuptools,pkg_resources,_distutils_hack,distutils-precedence.pth,elftools} \
        --exclude=./usr/lib/{apt,dpkg,systemd,terminfo} --exclude=./usr/share/{dpkg,debconf} \
        --exclude=./usr/bin/{bzip2,bunzip2,bzcat,bzip2recover,bzdiff,bzcmp,bzgrep,bzegrep,bzfgrep,bzmore,bzless,bzexe} \
        --exclude=./usr/bin/{apt,apt-*,dpkg,dpkg-*,deb*,meson,ninja,perl?*,cpan*} \
        --exclude=./etc/{passwd,group,shadow,gshadow,subuid,subgid}{,-} \
        --exclude=./etc/{apt,cron.daily,dpkg,fstab,hostname,hosts,machine-id,mtab,portage,profile,resolv.conf,shells} \
        --exclude=./etc/{ld.so.cache,ld.so.conf,profile.env,csh.env,environment.d} \
        --exclude=./etc/{.pwd.lock,cron*,systemd,localtime,pki,ssl/private} --exclude=./usr/local \
        --exclude=./var --exclude=__pycache__ ./usr ./etc
}

# fetch_sources: the archives that the tree's Manifests name, from Debian's source packages
fetch_sources() {
    [ ! -e "$work/distfiles/.done" ] || return 0
    local download=$work/apt/download
    mkdir -p "$work/distfiles"
    rm -rf "$download"
    fetch_debian "$download" bzip2=1.0.8-5 zlib=1:1.2.13.dfsg-1
    mv "$download"/bzip2_*.orig.tar.gz "$work/distfiles/bzip2-1.0.8.tar.gz"
    mv "$download"/zlib_*.orig.tar.bz2 "$work/distfiles/zlib-1.2.13.tar.bz2"
    touch "$work/distfiles/.done"
}

# fetch_debian DIR NAME=VERSION...: source packages of Debian, which lie in DIR then
fetch_debian() {
    local apt=$work/apt options file folder=$1
    shift
    [ ! -e "$folder/.done" ] || return 0
    mkdir -p "$apt/lists/partial" "$apt/parts" "$folder"
    : > "$apt/sources.list"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        if [ -f "$file" ]; then sed -n 's/^deb /deb-src /p' "$file" >> "$apt/sources.list"; fi
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        if [ -f "$file" ]; then sed 's/^Types:.*/Types: deb-src/' "$file" > "$apt/parts/$(basename "$file")"; fi
    done
    options=(-o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts="$apt/parts"
        -o Dir::State::lists="$apt/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
    apt-get "${options[@]}" -qq update
    (cd "$folder" && apt-get "${options[@]}" -qq source --download-only "$@") > /dev/null
    touch "$folder/.done"
}

# make_tree DIR: the repository of ebuilds with what it needs to build them. The Manifests say which archives
# are the right ones; only those of the seed and of a tool are made here.
make_tree() {
    rm -rf "$1"
    cp -R "$here/tree" "$1"
    rm -rf "$work/overlay"
    cp -R "$here/overlay" "$work/overlay"
    mkdir "$1/distfiles"
    cp --reflink=auto "$work"/distfiles/*.tar.* "$1/distfiles/"
    mkdir "$work/tool"
    printf '#!/bin/sh\necho "$@"\n' > "$work/tool/tool"
    chmod 755 "$work/tool/tool"
    tar -C "$work/tool" --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$1/distfiles/tool-1.tar" tool
    rm -rf "$work/tool"
    write_manifest "$1/distfiles/stand-in-12.tar.zst" > "$1/sys-devel/stand-in/Manifest"
    write_manifest "$1/distfiles/tool-1.tar" > "$1/app-misc/tool/Manifest"
}

# write_manifest FILE: the line of a Manifest for a source archive that is made here
write_manifest() {
    python3 - "$1" <<'END-OF-PYTHON'
import hashlib, os, sys

blake2b, sha512 = hashlib.blake2b(), hashlib.sha512()
with open(sys.argv[1], "rb") as file:
    for data in iter(lambda: file.read(1 << 20), b""):
        blake2b.update(data)
        sha512.update(data)
print("DIST", os.path.basename(sys.argv[1]), os.path.getsize(sys.argv[1]), "BLAKE2B", blake2b.hexdigest(), "SHA512", sha512.hexdigest())
END-OF-PYTHON
}
