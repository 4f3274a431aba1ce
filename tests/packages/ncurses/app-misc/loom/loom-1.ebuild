EAPI=8
DESCRIPTION="A program that is linked with a library that is built with its help"
SLOT="0"
KEYWORDS="amd64"
DEPEND="sys-libs/kelp"
RDEPEND="${DEPEND}"
S="${WORKDIR}"

src_compile() {
	printf 'int kelp(void);\nint main(void) { return kelp() - 7; }\n' > loom.c
	gcc ${CFLAGS} ${LDFLAGS} -o loom loom.c -lkelp || die
}

src_install() {
	dobin loom
}
