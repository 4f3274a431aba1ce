# What must hold, one function a case; sourced by run.sh. They run in order on one store.

# Time of everything that is built. It is later than that of most files of the seed, so both kinds occur.
epoch=1790000000

# realise TARGET [OPTION...]: output in $work/out and $work/err, which is shown if it fails
realise() {
    local target=$1; shift
    m realise --json "$@" "$target-generic_64" > "$work/out" 2> "$work/err" || { tail -n 60 "$work/err"; fail "$target was not built"; }
}
# built_nodes: steps that were built, on one line
built_nodes() { sed -n 's/^built \([^ ]*\) in .*/\1/p' "$work/err" | sort | tr '\n' ' ' | sed 's/ $//'; }
# in_tree COMMAND: what a command prints in the tree that was realised last
in_tree() { m shell "$(field tree < "$work/out")" -- /bin/bash -c "$1" 2> /dev/null; }
# in_stage TARGET COMMAND: what a command prints in a stage
in_stage() { m shell "$1-generic_64" -- /bin/bash -c "$2" 2> /dev/null; }

case_chain() {
    local target
    for target in stage1 stage2 stage3; do
        realise "$target"
        eval "$target=$(field tree < "$work/out")"
        ok "$target: $(eval "echo \$$target"), $(field built < "$work/out") steps in $(field seconds < "$work/out") s"
    done
}

case_contents() {
    # modes, owners, links, capabilities and attributes, as packages have them
    equal "a program with set-uid" "$(in_stage stage3 'stat -c "%a %u %g" /usr/bin/show-root')" "4711 0 0"
    equal "a folder of a package's own user" "$(in_stage stage3 'stat -c "%a %U %G" /var/spool/maildrop')" "2730 maildrop maildrop"
    equal "a folder for everybody" "$(in_stage stage3 'stat -c %a /var/lib/everybody')" 1777
    equal "hard links" "$(in_stage stage3 'stat -c %h /usr/bin/show-plain')" 3
    equal "a capability" "$(in_stage stage3 'getcap /usr/bin/show-network')" "/usr/bin/show-network cap_net_raw=ep"
    equal "a library that the loader's cache alone knows" "$(in_stage stage3 ask)" 42
    equal "the chosen alternative" "$(in_stage stage3 'readlink /usr/bin/bz')" bzip2
    # users and groups
    equal "groups in stage1" "$(in_stage stage1 'grep -c . /etc/group')" "$(($(grep -c . "$here/tree/sys-apps/baselayout/files/group") + 1))"
    equal "the mode of /etc/shadow" "$(in_stage stage3 'stat -c %a /etc/shadow')" 640
    # flags are those of make.conf and the profile, stage by stage
    equal "flags of stage1" "$(in_stage stage1 'grep ^CFLAGS /etc/privileges.conf')" 'CFLAGS="-O2 -pipe"'
    equal "flags of stage3" "$(in_stage stage3 'grep ^CFLAGS /etc/privileges.conf')" 'CFLAGS="-mtune=generic -O2 -pipe"'
    equal "the linker's flags" "$(in_stage stage3 'grep ^LDFLAGS /etc/privileges.conf')" 'LDFLAGS="-Wl,-O1 -Wl,--as-needed"'
    equal "flags that stage1 cannot do without" "$(in_stage stage1 'cat /usr/share/targets/targets')" tool_targets_new
    # What a build needs goes into the seed, and Portage has the same settings for it: where source archives are,
    # and that it makes no sandbox of its own, which it may not.
    equal "a package for the seed" "$(m log stage1-generic_64:build | grep -c '^>>> Emerging (.*) app-misc/tool-1::gentoo$')" 1
    equal "sandboxes of Portage's own" "$(for step in stage1-generic_64:build stage2-generic_64:bootstrap stage3-generic_64:build; do m log "$step"; done | grep -c 'Unable to unshare')" 0
    equal "what the seed was told, in the stage" "$(in_stage stage1 'grep -e FEATURES -e MAKEOPTS -e DISTDIRS /etc/portage/make.conf; ls /usr/bin/tool 2> /dev/null')" ""
    # Compiled modules tell what ran before.
    equal "modules of Portage that were compiled" "$(in_stage stage3 'find /usr/lib/python3/dist-packages/portage -name __pycache__')" ""
    equal "make.profile" "$(in_stage stage3 'readlink /etc/portage/make.profile')" ../../var/db/repos/overlay/profiles/plus
    equal "what a parent's packages.build has and a child takes back" "$(in_stage stage1 'ls /usr/bin/greeting 2>&1 | grep -c such')" 1
    # repositories side by side
    equal "repositories" "$(in_stage stage3 'cat /etc/portage/repos.conf/*.conf | tr "\n" " "')" \
        "[DEFAULT] main-repo = gentoo  [gentoo] location = /var/db/repos/gentoo [overlay] location = /var/db/repos/overlay "
    equal "a package of the overlay, with its profile's flag" "$(in_stage stage3 extra)" "extra plus"
    equal "where it is from" "$(in_stage stage3 'cat /var/db/pkg/app-misc/extra-1/repository')" overlay
    # the share of the processors that a step had is nowhere
    equal "records that tell of MAKEOPTS" "$(in_stage stage3 'for file in /var/db/pkg/*/*/environment.bz2; do bzip2 -dc "$file" | grep -l MAKEOPTS > /dev/null && echo "$file"; done; grep -rl -e MAKEOPTS= -e /mstore/jobs /etc/portage /var/db/pkg')" ""
    # nothing waits, nothing is left
    equal "configuration files that wait" "$(in_stage stage3 "find /etc -name '._cfg*'")" ""
    # Times of files are those in the records of packages, of old files as of new ones.
    equal "times that differ from the records" "$(in_stage stage3 'python3 -c "
import glob, os
for contents in glob.glob(\"/var/db/pkg/*/*/CONTENTS\"):
    for line in open(contents):
        words = line.split()
        if words[0] == \"obj\" and not words[1].startswith(\"/etc/\") and int(os.stat(words[1]).st_mtime) != int(words[-1]):
            print(words[1])
"')" ""
    equal "both kinds of time" "$(in_stage stage3 "cat /var/db/pkg/*/*/CONTENTS | grep ^obj | awk '{ print \$NF == $epoch }' | sort -u | tr -d '\n'")" 01
}

case_nothing_to_do() {
    realise stage3
    equal "a second realise builds" "$(field built < "$work/out")" 0
    equal "same tree" "$(field tree < "$work/out")" "$stage3"
}

case_seeds() {
    # A stage1 as the seed: the same stages come of it, so there is nothing to build.
    cp "$work/conf/metro.lock" "$work/metro.lock"
    m lock --seed "gentoo/x86-64bit/generic_64/stage1=$stage1" > /dev/null
    local target
    for target in stage2 stage3; do
        realise "$target" -D strategy/seed=stage1
        equal "$target from a stage1 as the seed: the tree, and the steps to build" \
            "$(field tree < "$work/out") $(field built < "$work/out")" "$(eval "echo \$$target") 0"
    done
    m graph stage3-generic_64 -D strategy/seed=stage1 > "$work/list"
    equal "stage1 in its plan" "$(grep -c stage1- "$work/list")" 0
    cp "$work/metro.lock" "$work/conf/metro.lock"
}

case_strategies() {
    local options got=0 remote=(-D strategy/build=remote -D remote/subarch=generic_64)
    # stage3 straight from stage1, as Gentoo's own releases.
    options=(-D strategy/stage2=no)
    m graph stage3-generic_64 "${options[@]}" > "$work/list"
    equal "stage2 in the plan of stage3 without it" "$(grep -c stage2- "$work/list")" 0
    realise stage3 "${options[@]}"
    equal "packages of that stage3" "$(in_tree 'cd /var/db/pkg; ls -d */*' | tr '\n' ' ')" "$(in_stage stage3 'cd /var/db/pkg; ls -d */*' | tr '\n' ' ')"
    # A seed that is brought up to date first.
    realise stage1 -D user/seed-update=app-misc/unused
    equal "steps with an update of the seed" "$(m graph stage1-generic_64 -D user/seed-update=app-misc/unused | grep -c ':update <- .*:setup$')" 1
    equal "the package in stage1" "$(in_tree 'ls -d /var/db/pkg/app-misc/unused-1 2> /dev/null')" ""
    # A subarch without a stage3 of its own is built by another one's, and by its own from then on.
    cp "$work/conf/metro.lock" "$work/metro.lock"
    m realise --json stage3-corei7 "${remote[@]}" > "$work/out" 2> "$work/err" || { tail -n 60 "$work/err"; fail "a remote build"; }
    equal "flags of what another subarch's stage3 built" "$(in_tree 'grep ^COMMON_FLAGS /etc/portage/make.conf; grep ^CFLAGS /etc/privileges.conf' | sort -u | tr '\n' ' ')" \
        'CFLAGS="-march=corei7 -O2 -pipe" COMMON_FLAGS="-march=corei7 -O2 -pipe" '
    m realise stage1-corei7 > "$work/log" 2>&1 || got=$?
    equal "exit status of a local build without a stage3" "$got" 2
    grep -F "gentoo/x86-64bit/corei7/stage3" "$work/log" > /dev/null || { cat "$work/log"; fail "the message does not name the seed"; }
    m lock --seed "gentoo/x86-64bit/corei7/stage3=$(field tree < "$work/out")" > /dev/null
    m realise --json stage1-corei7 > "$work/out" 2> "$work/err" || { tail -n 60 "$work/err"; fail "a local build"; }
    ok "a stage1 by the subarch's own stage3: $(field tree < "$work/out")"
    cp "$work/metro.lock" "$work/conf/metro.lock"
}

case_stage4() {
    realise stage4
    stage4=$(field tree < "$work/out")
    equal "steps of stage4" "$(built_nodes | sed 's/stage4-generic_64://g')" "clean configure finish setup tailor test"
    equal "a package, with flags of the stage" "$(in_stage stage4 greeting)" "HELLO 1"
    equal "its flags, by package.env, and a patch" "$(in_stage stage4 'cat /usr/share/greeting/flags; sed -n 2p /usr/bin/greeting')" "-Os
# patched"
    equal "flags in make.conf" "$(in_stage stage4 'grep ^USE /etc/portage/make.conf')" 'USE=" loud"'
    equal "a service in a runlevel" "$(in_stage stage4 'ls /etc/runlevels/boot | grep -c "^hwclock.sh$"')" 1
    equal "a service that is off" "$(in_stage stage4 'ls /etc/runlevels/sysinit | grep -c "^cgroups$"')" 0
    equal "files laid over" "$(in_stage stage4 'tail -n 1 /etc/conf.d/extra; stat -c %a /root')" "EXTRA=\"yes\"
700"
    equal "the time zone" "$(in_stage stage4 'readlink /etc/localtime; cat /etc/timezone')" "../usr/share/zoneinfo/Test/Place
Test/Place"
    equal "names of the system" "$(in_stage stage4 'cat /etc/hostname /etc/motd; grep -h ^NAME= /etc/os-release; grep -c ^ID= /etc/os-release')" "example
A stage4.
NAME=\"Example\"
1"
    equal "file systems" "$(in_stage stage4 'cat /etc/fstab')" "LABEL=root / ext4 defaults 0 1"
    equal "environment" "$(in_stage stage4 '. /etc/profile.env; echo $LANG')" C.UTF-8
    equal "locales" "$(in_stage stage4 'cat /etc/locale.gen')" "C.UTF-8 UTF-8"
    equal "a user in groups" "$(in_stage stage4 'id -Gn ada | tr " " "\n" | sort | tr "\n" " "; getent group builders | cut -d: -f3')" "ada builders wheel 700"
    equal "a key" "$(in_stage stage4 'stat -c "%a %U" /home/ada/.ssh /home/ada/.ssh/authorized_keys; cut -d" " -f3 /home/ada/.ssh/authorized_keys')" "700 ada
600 ada
ada@example"
    equal "the script" "$(in_stage stage4 'cat /etc/finished')" finished
    equal "what was taken away" "$(in_stage stage4 'ls -A /usr/share/targets /usr/share/privileges')" "/usr/share/privileges:

/usr/share/targets:"
    equal "stage3 has none of it" "$(in_stage stage3 'ls /etc/finished /usr/bin/greeting 2> /dev/null')" ""
}

case_images() {
    local target
    for target in openvz lxc; do
        realise "$target"
        equal "init of $target" "$(in_stage "$target" 'tail -n 1 /etc/rc.conf')" "rc_sys=\"$target\""
    done
    realise lxd
    m store ls "$(field tree < "$work/out")" > "$work/list"
    equal "an image of LXD" "$(awk '{ print $NF }' "$work/list" | tr '\n' ' ')" "metadata.yaml rootfs templates "
    equal "its metadata" "$(m store cat "$(field tree < "$work/out"):metadata.yaml" | head -n 2 | tr '\n' ' ')" "architecture: x86_64 creation_date: $epoch "
    realise livecd
    m store cat "$(field tree < "$work/out"):image.squashfs" > "$work/image"
    unsquashfs -n -q -d "$work/unpacked" "$work/image" usr/bin/ask etc/group > /dev/null
    cmp "$work/unpacked/etc/group" <(m store cat "$stage3:etc/group") || fail "the file of the medium differs"
    ok "a live file system"
    rm -rf "$work/unpacked" "$work/image"
    realise diskimage
    m store cat "$(field tree < "$work/out"):disk.img" > "$work/image"
    e2fsck -fn "$work/image" > "$work/log" 2>&1 || { cat "$work/log"; fail "the disk image is damaged"; }
    equal "a program in a disk image" "$(debugfs -R 'stat /usr/bin/show-root' "$work/image" 2> /dev/null | grep -o 'Mode: *[0-9]*')" "Mode:  04711"
    rm -f "$work/image"
    for target in livecd diskimage; do
        m realise --check "$target-generic_64" > "$work/out" 2> "$work/err" || { tail -n 60 "$work/err"; fail "$target comes out different"; }
        ok "$target comes out the same once more"
    done
    realise snapshot -D user/metadata=yes
    equal "the repositories to publish" "$(m store ls "$(field tree < "$work/out")" | awk '{ print $NF }' | tr '\n' ' ')" "gentoo overlay "
    equal "what ebuilds say of themselves, in it" "$(m store ls "$(field tree < "$work/out"):gentoo/metadata/md5-cache/sys-libs" | awk '{ print $NF }' | tr '\n' ' ')" "tide-1 zlib-1.2.13 "
    equal "archives of sources in it" "$(m store ls "$(field tree < "$work/out"):gentoo" | grep -c distfiles)" 0
}

case_shell() {
    # Portage in the shell of a finished stage, which has the tree.
    equal "emerge in a shell" "$(in_stage stage3 'emerge --quiet --oneshot app-misc/greeting > /dev/null && greeting')" "hello 1"
    equal "which archives a build needs" "$(in_stage stage3 'GENTOO_MIRRORS= emerge --pretend --fetchonly --emptytree @system' | grep -c '^https://example.org/zlib-1.2.13.tar.bz2')" 1
    equal "its changes are gone" "$(in_stage stage3 'ls /usr/bin/greeting 2> /dev/null')" ""
}

case_rootless() {
    local home=$work/home target
    if ! id "$user" > /dev/null 2>&1; then
        useradd -M -d "$home" "$user"
        user_made=yes
    fi
    grep -q "^$user:" /etc/subuid || usermod --add-subuids 300000-365535 --add-subgids 300000-365535 "$user"
    rm -rf "$home"
    mkdir "$home"
    cp -R "$work/conf" "$home/conf"
    rm -f "$home/conf/metro.lock"
    install -m 755 "$MSTORE" "$work/mstore"
    chown -R "$user:" "$home"
    # One processor, where root has all: how many there are must not show.
    as_user() {
        (cd "$home" && env -u MSTORE_STORE HOME="$home" TZ=Asia/Kathmandu LC_ALL=C \
            taskset -c 0 setpriv --reuid "$user" --regid "$user" --init-groups "$work/mstore" --store "$home/store" -f conf/metro.conf "$@")
    }
    as_user seed import "$work/seed.tar" --name gentoo/x86-64bit/generic_64/stage3 > /dev/null
    as_user snapshot import "$work/tree" --name gentoo --epoch "$epoch" > /dev/null
    as_user snapshot import "$work/overlay" --name overlay > /dev/null
    for target in stage1 stage2 stage3 stage4; do
        as_user realise --json "$target-generic_64" > "$work/out" 2> "$work/err" || { tail -n 60 "$work/err"; fail "$target as an ordinary user"; }
        equal "$target as an ordinary user" "$(field tree < "$work/out")" "$(eval "echo \$$target")"
    done
    rm -rf "$home"
}

case_tailored() {
    realise stage3 -D user/packages=app-misc/greeting
    equal "a package more builds" "$(built_nodes)" \
        "stage3-generic_64:clean stage3-generic_64:configure stage3-generic_64:tailor stage3-generic_64:test"
    equal "its program" "$(in_tree greeting)" "hello 1"
    equal "what the world is then" "$(in_tree 'cat /var/lib/portage/world')" app-misc/greeting
    realise stage3 -D user/packages-clean=app-misc/privileges
    equal "a package less" "$(in_tree 'ls -d /var/db/pkg/app-misc/privileges* /usr/bin/show* 2> /dev/null')" ""
    realise stage3
    equal "the stage as it was" "$(field tree < "$work/out")" "$stage3"
}

case_binary_packages() {
    # The example of the manual: a library gets another soname, and what was linked with the old one is cached.
    local got=0 boat=(-D stage4/packages=app-misc/boat) ebuilds=$work/tree/sys-libs/tide
    cp "$work/conf/metro.lock" "$work/metro.lock"
    realise cached "${boat[@]}"
    equal "a program and its library" "$(in_tree boat)" "tide 7"
    equal "binary packages, in a folder of compiler and flags" "$(cd "$store/impure"; find . -name '*.gpkg.tar' |
        sed 's/-[0-9a-f]\{8\}\//-FLAGS\//; s/gcc-[0-9.]*/gcc-VERSION/' | sort | tr '\n' ' ')" \
        "./package,gentoo,x86-64bit,generic_64/gcc-VERSION-FLAGS/app-misc/boat/boat-1-1.gpkg.tar ./package,gentoo,x86-64bit,generic_64/gcc-VERSION-FLAGS/sys-libs/tide/tide-1-1.gpkg.tar "
    realise cached "${boat[@]}" --rebuild
    equal "packages that were taken from it" "$(m log cached-generic_64:tailor | grep -c '^>>> Emerging binary')" 2
    m realise --check cached-generic_64 "${boat[@]}" > "$work/out" 2> "$work/err" || got=$?
    equal "exit status of a check" "$got" 2
    grep -F "cached-generic_64:tailor cannot be checked" "$work/err" || { cat "$work/err"; fail "the check does not say why"; }
    equal "what show tells" "$(m show cached-generic_64:tailor | grep -o 'impure at .*')" \
        "impure at /mstore/impure/package: the folder package,gentoo,x86-64bit,generic_64, which is no input"
    mv "$ebuilds/tide-1.ebuild" "$ebuilds/tide-2.ebuild"
    m snapshot import "$work/tree" --name gentoo --epoch "$epoch" > /dev/null
    got=0
    m realise cached-generic_64 "${boat[@]}" > "$work/out" 2> "$work/err" || got=$?
    equal "exit status with a stale package" "$got" 1
    m log cached-generic_64:test | grep -F "/usr/bin/boat: the library libtide.so.1 is missing" || fail "the test does not find the stale package"
    # Without the cache the key of the step has the new library, so nothing can be stale.
    realise stage4 "${boat[@]}"
    equal "the program, built with the new library" "$(in_tree boat)" "tide 7"
    mv "$ebuilds/tide-2.ebuild" "$ebuilds/tide-1.ebuild"
    cp "$work/metro.lock" "$work/conf/metro.lock"
}

case_unused_ebuild() {
    cp "$work/conf/metro.lock" "$work/metro.lock"
    echo '# a remark' >> "$work/tree/app-misc/unused/unused-1.ebuild"
    m snapshot import "$work/tree" --name gentoo --epoch "$epoch" > /dev/null
    m realise -n stage3-generic_64 > "$work/out" 2> "$work/err"
    equal "what a remark in an ebuild makes stale for certain" \
        "$(cat "$work/out" "$work/err" | grep -v 'come out different' | grep -o 'stage[0-9]-generic_64:[a-z]*' | tr '\n' ' ')" "stage1-generic_64:build "
    cp "$work/metro.lock" "$work/conf/metro.lock"
}

case_freshen() {
    # The stage3 of before is the seed, and one package of it has a newer version by now.
    cp "$work/conf/metro.lock" "$work/metro.lock"
    cp "$work/tree/app-alternatives/bz/bz-1.ebuild" "$work/tree/app-alternatives/bz/bz-2.ebuild"
    m snapshot import "$work/tree" --name gentoo --epoch "$epoch" > /dev/null
    m lock --seed "gentoo/x86-64bit/generic_64/stage3=$stage3" > /dev/null
    realise stage3-freshen
    equal "freshening builds" "$(built_nodes | sed 's/stage3-freshen-generic_64://g')" "build clean configure setup tailor test"
    equal "what is new, and what nothing needs" "$(in_tree 'cd /var/db/pkg; ls -d app-*/{bz,bzip2,targets}-* 2> /dev/null | tr "\n" " "')" \
        "app-alternatives/bz-2 app-arch/bzip2-1.0.8 "
    equal "what was not built anew" "$(m log stage3-freshen-generic_64:build | grep -c '^>>> Emerging')" 1
    realise stage3-quick
    equal "a quick stage3, which is set up as the one before" "$(built_nodes | sed 's/stage3-quick-generic_64://g')" "build clean configure tailor test"
    equal "what it builds anew" "$(m log stage3-quick-generic_64:build | grep -c '^>>> Emerging')" "$(in_tree 'ls -d /var/db/pkg/*/* | grep -vc targets')"
    cp "$work/metro.lock" "$work/conf/metro.lock"
    rm "$work/tree/app-alternatives/bz/bz-2.ebuild"
}

# damaged NAME SCRIPT WANTED: the test finds what the script did to the stage
damaged() {
    local got=0
    m realise damaged-generic_64 -D "damage/script=$2" > "$work/out" 2> "$work/err" || got=$?
    [ "$got" = 1 ] || { cat "$work/err"; fail "$1: exit status $got"; }
    m log damaged-generic_64:test > "$work/log"
    grep -qF -- "$3" "$work/log" || { cat "$work/log"; fail "$1: the test does not say '$3'"; }
    ok "$1: $3"
}

case_damages() {
    damaged "lost groups" 'sed -i "/^root:/d; /^wheel:/d; /^maildrop:/d" /etc/group' "/etc/group: there is not a group wheel"
    damaged "a secret" 'chmod 644 /etc/shadow' "/etc/shadow: others may do too much with it"
    damaged "a file that waits" 'cp /etc/fstab /etc/._cfg0000_fstab' "a configuration file that waits to be merged"
    damaged "a missing program" 'rm /usr/bin/bzip2' "/usr/bin/bzip2: app-arch/bzip2-1.0.8 has it"
    damaged "a missing library" 'rm -r /usr/lib/answer; sed -i "/answer/d" /var/db/pkg/app-misc/*/CONTENTS' "/usr/bin/ask: the library libanswer.so.1 is missing"
    damaged "a missing package" 'rm -r /var/db/pkg/app-arch/bzip2-*' "packages of @system that the stage lacks"
    realise damaged
    ok "the same target without a damage passes"
}

case_profile() {
    local got=0
    m realise stage1-generic_64 -D user/profile=default/linux/amd64/17.1 > "$work/out" 2> "$work/err" || got=$?
    equal "exit status with a profile that is not there" "$got" 1
    grep -qF 'in that place are: 23.0' "$work/err" || { cat "$work/err"; fail "the message does not say what there is"; }
    ok "the message names those that there are"
}

# A tree in kits, as Funtoo has it: its profile has parts in two of them. The stage1 has a few packages and is not
# entered.
case_kits() {
    local kits=$work/kits tree got=0
    rm -rf "$kits"
    mkdir "$kits"
    cp -R --reflink=auto "$work/tree" "$kits/core-kit"
    rm "$kits/core-kit/profiles/repo_name"
    cp -R "$here/kits/." "$kits/"
    cp -R "$work/overlay/app-misc" "$kits/lang-kit/"
    cp -R "$here/funtoo" "$kits/conf"
    [ -z "${SPECS:-}" ] || cp -R "$SPECS" "$kits/conf/specs"
    f() { "$MSTORE" --store "$store" -f "$kits/conf/metro.conf" "$@"; }
    f seed import "$work/seed.tar" --name funtoo-current/x86-64bit/generic_64/stage3 > /dev/null
    f seed import "$work/seed.tar" --name funtoo-current/x86-64bit/corei7/stage3 > /dev/null
    f snapshot import "$kits/core-kit" --name funtoo-current --epoch "$epoch" > /dev/null
    f snapshot import "$kits/lang-kit" --name funtoo-current/lang-kit > /dev/null
    f realise --json stage1-generic_64 > "$work/out" 2> "$work/err" || { tail -n 60 "$work/err"; fail "stage1 of a tree in kits"; }
    tree=$(field tree < "$work/out")
    equal "parts of the profile" "$(f store cat "$tree:etc/portage/make.profile/parent" | tr '\n' ' ')" \
        "core-kit:funtoo/1.0/linux-gnu/arch/x86-64bit core-kit:funtoo/1.0/linux-gnu/build/current core-kit:funtoo/1.0/linux-gnu/arch/x86-64bit/subarch/generic_64 core-kit:funtoo/1.0/linux-gnu/flavor/core core-kit:funtoo/1.0/linux-gnu/mix-ins/small lang-kit:mix-ins/plus "
    equal "kits" "$(f store cat "$tree:etc/portage/repos.conf/lang-kit.conf" | tail -n 1)" "location = /var/git/meta-repo/kits/lang-kit"
    equal "packages" "$(f store ls "$tree:var/db/pkg/app-misc" | awk '{ print $NF }' | tr '\n' ' ')" "extra-1 targets-1 "
    equal "a package of another kit, with the flag of its mix-in" \
        "$(f store cat "$tree:usr/bin/extra" | tail -n 1), $(f store cat "$tree:var/db/pkg/app-misc/extra-1/repository")" "echo extra plus, lang-kit"
    f realise stage1-corei7 > "$work/out" 2> "$work/err" || got=$?
    equal "exit status with a subarch that the profile lacks" "$got" 1
    grep -qF 'in that place are: generic_64' "$work/err" || { cat "$work/err"; fail "the message does not say what there is"; }
    rm -rf "$kits"
}
