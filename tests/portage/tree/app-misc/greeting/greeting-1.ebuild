EAPI=8
DESCRIPTION="A script to add and to take away, and the flags that it would be compiled with"
SLOT="0"
KEYWORDS="amd64"
IUSE="loud"
S="${WORKDIR}"

src_unpack() {
	cp "${FILESDIR}/greeting.in" . || die
}

src_install() {
	sed "s/WORD/$(usex loud HELLO hello)/; s/VERSION/${PV}/" greeting.in > greeting || die
	dobin greeting
	echo "${CFLAGS}" > flags || die
	insinto /usr/share/greeting
	doins flags
}
