EAPI=8
DESCRIPTION="A shell that is linked with a library for terminals"
SLOT="0"
KEYWORDS="amd64"
DEPEND="sys-libs/ncurses"
RDEPEND="${DEPEND}"
S="${WORKDIR}"

src_compile() {
	gcc ${CFLAGS} ${LDFLAGS} -o reef "${FILESDIR}/reef.c" -lncurses || die
}

src_install() {
	dobin reef
}
