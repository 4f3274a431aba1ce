EAPI=8
DESCRIPTION="A block-sorting compressor"
SRC_URI="https://example.org/${P}.tar.gz"
SLOT="0/1"
KEYWORDS="amd64"
RDEPEND="sys-libs/zlib"
PDEPEND="app-alternatives/bz"

src_compile() {
	emake -f Makefile-libbz2_so CC=gcc CFLAGS="${CFLAGS} -D_FILE_OFFSET_BITS=64 -fPIC" LDFLAGS="${LDFLAGS}" all
	emake CC=gcc CFLAGS="${CFLAGS} -D_FILE_OFFSET_BITS=64" LDFLAGS="${LDFLAGS}" bzip2recover
}

src_install() {
	newbin bzip2-shared bzip2
	dobin bzip2recover
	dosym bzip2 /usr/bin/bunzip2
	doheader bzlib.h
	dolib.so libbz2.so.1.0.8
	dosym libbz2.so.1.0.8 "/usr/$(get_libdir)/libbz2.so.1.0"
}
