EAPI=8
inherit capabilities
DESCRIPTION="Files with everything that a file can have"
SLOT="0"
KEYWORDS="amd64"
DEPEND="acct-user/maildrop acct-group/maildrop"
RDEPEND="${DEPEND}"
S="${WORKDIR}"

src_compile() {
	gcc ${CFLAGS} ${LDFLAGS} -o show "${FILESDIR}/show.c" || die
	gcc ${CFLAGS} ${LDFLAGS} -shared -fPIC -Wl,-soname,libanswer.so.1 -o libanswer.so.1 "${FILESDIR}/answer.c" || die
	gcc ${CFLAGS} ${LDFLAGS} -o ask "${FILESDIR}/ask.c" libanswer.so.1 || die
}

src_install() {
	local name
	for name in show-plain show-root show-network; do
		newbin show "${name}"
	done
	dobin ask
	fperms 4711 /usr/bin/show-root
	dosym show-plain /usr/bin/show
	ln "${ED}/usr/bin/show-plain" "${ED}/usr/bin/show-again" || die
	ln "${ED}/usr/bin/show-plain" "${ED}/usr/bin/show-once-more" || die

	exeinto /usr/lib/answer
	doexe libanswer.so.1
	newenvd - 50answer <<-EOT
		LDPATH="/usr/lib/answer"
	EOT

	keepdir /var/spool/maildrop /var/lib/everybody
	fowners maildrop:maildrop /var/spool/maildrop
	fperms 2730 /var/spool/maildrop
	fperms 1777 /var/lib/everybody

	# What the file says depends on the stage, so it waits to be merged wherever it is protected.
	printf 'CFLAGS="%s"\nLDFLAGS="%s"\n' "${CFLAGS}" "${LDFLAGS}" > privileges.conf || die
	insinto /etc
	doins privileges.conf
	insinto /usr/share/privileges
	echo attribute > attribute || die
	doins attribute
	setfattr -n user.origin -v upstream "${ED}/usr/share/privileges/attribute" || die
}

pkg_postinst() {
	capabilities_set cap_net_raw+ep /usr/bin/show-network
}
