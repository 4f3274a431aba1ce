# The root with Portage, cut into a base and the development files of each library; sourced by run.sh.

# make_base DIR: Debian with a compiler, the tools and libraries of the lists, and Portage
make_base() {
    [ ! -e "$1.made" ] || return 0
    rm -rf "$1"
    local packages
    packages=$(awk '!/^#/ { for (i = 2; i <= NF; i++) print $i }' "$here/libraries.txt"; awk '!/^#/ { print $1 }' "$here/tools.txt")
    mmdebstrap --quiet --variant=minbase --include="$(tr '\n' ',' <<< "$packages" | sed 's/,$//')" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        "$suite" "$1"
    add_portage "$1"
    touch "$1.made"
}

# add_portage DIR
add_portage() {
    python3 -m pip download --quiet --no-deps --no-binary portage "portage==$portage_version" -d "$work/pip"
    echo "$portage_sha256  $work/pip/portage-$portage_version.tar.gz" | sha256sum --check --quiet
    tar -C "$1/usr/src" -xf "$work/pip/portage-$portage_version.tar.gz"
    chroot "$1" /bin/sh -ec '
        cd /usr/src/portage-*
        meson setup build --prefix=/usr --sysconfdir=/etc -Dnative-extensions=false \
            --python.purelibdir=/usr/lib/python3/dist-packages > /dev/null
        meson install -C build > /dev/null
        rm -rf /usr/src/portage-* /usr/share/portage/config/repos.conf
        # Ebuilds call these by the names that they have in Gentoo.
        for tool in tar patch xargs sed make find awk; do [ -e "/usr/bin/g$tool" ] || ln -s "$tool" "/usr/bin/g$tool"; done
        for tool in gcc g++ cpp ar as ld nm objcopy objdump ranlib readelf size strings strip pkg-config gcc-ar gcc-nm gcc-ranlib; do
            ln -sf "$tool" "/usr/bin/x86_64-pc-linux-gnu-$tool"
        done
        # Tools that only Gentoo has. The first one patches old copies of libtool, which both roots go without.
        printf "#!/bin/sh\nexit 0\n" > /usr/bin/eltpatch
        printf "#!/usr/bin/python3\nimport shlex, sys\nprint([word for text in sys.argv[1:] for word in shlex.split(text)])\n" > /usr/bin/meson-format-array
        chmod 755 /usr/bin/eltpatch /usr/bin/meson-format-array
        groupadd -g 250 portage
        useradd -r -u 250 -g 250 -d /var/tmp/portage -s /usr/sbin/nologin portage'
    mkdir -p "$1"/var/cache/distfiles "$1"/var/db/repos/gentoo "$1"/var/db/pkg "$1"/etc/portage/repos.conf "$1"/var/tmp
    rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*
    configure_portage "$1"
}

# configure_portage DIR: features are those of the standard specifications
configure_portage() {
    ln -sfn ../../var/db/repos/gentoo/profiles/default/linux/amd64/23.0 "$1/etc/portage/make.profile"
    printf '[DEFAULT]\nmain-repo = gentoo\n\n[gentoo]\nlocation = /var/db/repos/gentoo\nauto-sync = no\n' > "$1/etc/portage/repos.conf/gentoo.conf"
    cat > "$1/etc/portage/make.conf" <<'END-OF-CONF'
CFLAGS="-O1 -pipe"
CXXFLAGS="${CFLAGS}"
ACCEPT_KEYWORDS="amd64 ~amd64"
ACCEPT_LICENSE="*"
PYTHON_TARGETS="python3_13"
PYTHON_SINGLE_TARGET="python3_13"
FEATURES="-merge-sync -news -sandbox -usersandbox -ipc-sandbox -network-sandbox -pid-sandbox -mount-sandbox -distlocks -userpriv -userfetch -usersync -ccache -binpkg-multi-instance"
END-OF-CONF
}

# split_base DIR LAYERS: moves the development files of each library out of the base to LAYERS/CATEGORY/NAME
split_base() {
    [ ! -e "$2.made" ] || return 0
    rm -rf "$2"
    python3 "$here/split.py" "$1" "$here/libraries.txt" "$2"
    touch "$2.made"
}
