EAPI=8
DESCRIPTION="A program for terminals that does not say so"
SLOT="0"
KEYWORDS="amd64"
S="${WORKDIR}"

src_compile() {
	printf '#include <curses.h>\nint main(void) { return curses_version() == 0; }\n' > silent.c
	gcc ${CFLAGS} ${LDFLAGS} -o silent silent.c -lncurses || die
}

src_install() {
	dobin silent
}
