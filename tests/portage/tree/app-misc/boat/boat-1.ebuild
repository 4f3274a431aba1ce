EAPI=8
DESCRIPTION="A program that does not say that it wants to be built anew with its library"
SLOT="0"
KEYWORDS="amd64"
DEPEND="sys-libs/tide"
RDEPEND="${DEPEND}"
S="${WORKDIR}"

src_compile() {
	gcc ${CFLAGS} ${LDFLAGS} -o boat "${FILESDIR}/boat.c" -ltide || die
}

src_install() {
	dobin boat
}
