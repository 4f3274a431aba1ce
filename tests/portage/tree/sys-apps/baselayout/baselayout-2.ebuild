EAPI=8
DESCRIPTION="Folders, users and groups of a new system"
SLOT="0"
KEYWORDS="amd64"
IUSE="build"
S="${WORKDIR}"

src_install() {
	local name
	for name in bin sbin lib lib64; do
		dosym "usr/${name}" "/${name}"
		keepdir "/usr/${name}"
	done
	# Portage merges no empty folders.
	keepdir /etc/runlevels/{sysinit,boot,default}
	keepdir /etc /home /mnt /opt /var/cache /var/empty /var/lib /var/log /var/spool /var/tmp /root /etc/ssl/private
	fperms 0700 /root /etc/ssl/private
	fperms 1777 /var/tmp
	dosym ../run /var/run
	dosym ../proc/self/mounts /etc/mtab
	insinto /usr/share/baselayout
	doins "${FILESDIR}"/{passwd,group,shadow}
	insinto /etc
	doins "${FILESDIR}"/{fstab,profile,shells}
}

# Users and groups are the administrator's once they are there.
pkg_postinst() {
	local name
	for name in passwd group shadow; do
		[[ -e ${EROOT}/etc/${name} ]] || cp "${EROOT}/usr/share/baselayout/${name}" "${EROOT}/etc/${name}" || die
	done
	chmod 0644 "${EROOT}"/etc/{passwd,group} || die
	chmod 0640 "${EROOT}"/etc/shadow || die
}
