EAPI=8
DESCRIPTION="The deflate library"
SRC_URI="https://example.org/${P}.tar.bz2"
SLOT="0/1"
KEYWORDS="amd64"
IUSE="static-libs"

src_unpack() {
	default
	# The archive has a folder of another name in it, which depends on who packed it.
	mv "${WORKDIR}"/zlib* "${S}" 2>/dev/null || true
}

src_configure() {
	CC=gcc LDFLAGS="${LDFLAGS}" ./configure --prefix="${EPREFIX}/usr" --libdir="${EPREFIX}/usr/$(get_libdir)" || die
}

src_compile() {
	emake "libz.so.${PV}" libz.a
}

src_install() {
	dolib.so "libz.so.${PV}"
	dosym "libz.so.${PV}" "/usr/$(get_libdir)/libz.so.1"
	dosym "libz.so.${PV}" "/usr/$(get_libdir)/libz.so"
	doheader zlib.h zconf.h
	! use static-libs || dolib.a libz.a
}
