EAPI=8
DESCRIPTION="The library for text on terminals, with the interface that its version tells of"
# The interface is what matters here: both versions are made of one archive.
SRC_URI="https://example.org/ncurses-6.4.tar.gz"
SLOT="0/${PV%%.*}"
KEYWORDS="amd64"

src_unpack() {
	default
	mv "${WORKDIR}"/ncurses* "${S}" 2>/dev/null || true
}

src_configure() {
	CC=gcc ./configure --prefix="${EPREFIX}/usr" --libdir="${EPREFIX}/usr/$(get_libdir)" --with-abi-version="${PV%%.*}" \
		--with-shared --without-normal --without-debug --without-ada --without-cxx --without-cxx-binding --without-manpages \
		--without-tests --without-progs --disable-db-install --disable-stripping > configure.log || die
}

src_compile() {
	emake -s -C include > /dev/null
	emake -s -C ncurses > /dev/null
}

src_install() {
	emake -s -C include DESTDIR="${D}" install > /dev/null
	emake -s -C ncurses DESTDIR="${D}" install > /dev/null
}
