EAPI=8
DESCRIPTION="Files behind links of folders, and hooks that change what is merged"
SLOT="0"
KEYWORDS="amd64"
S="${WORKDIR}"

src_install() {
	printf '#!/bin/sh\n' > odd || die
	exeinto /bin
	doexe odd
	echo a > changed || die
	echo b > gone || die
	insinto /usr/share/odd
	doins changed gone
	insinto /lib/odd
	doins changed
	keepdir /var/lib/odd
}

pkg_preinst() {
	rm "${ED}/usr/share/odd/gone" || die
	echo "by a hook" > "${ED}/usr/share/odd/changed" || die
	echo c > "${ED}/usr/share/odd/added" || die
}

pkg_postinst() {
	[[ ! -e ${EROOT}/usr/share/odd/gone ]] || die "it is there"
	cat "${EROOT}/usr/share/odd/changed" > "${EROOT}/var/lib/odd/seen" || die
}
