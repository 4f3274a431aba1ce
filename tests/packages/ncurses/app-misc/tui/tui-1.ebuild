EAPI=8
DESCRIPTION="A program for terminals, which is built with the help of a shell of the base"
SLOT="0"
KEYWORDS="amd64"
DEPEND="sys-libs/ncurses"
RDEPEND="${DEPEND}"
BDEPEND="app-shells/reef"
S="${WORKDIR}"

src_compile() {
	# It is linked with the library that the base had.
	reef -c "echo the shell of the base starts" || die
	gcc ${CFLAGS} ${LDFLAGS} -o tui "${FILESDIR}/tui.c" -lncurses || die
}

src_install() {
	dobin tui
}
