EAPI=8
DESCRIPTION="A program that is linked with the deflate library"
SLOT="0"
KEYWORDS="amd64"
DEPEND="sys-libs/zlib"
RDEPEND="${DEPEND}"
S="${WORKDIR}"

src_compile() {
	gcc ${CFLAGS} ${LDFLAGS} -o press "${FILESDIR}/press.c" -lz || die
}

src_install() {
	dobin press
}
