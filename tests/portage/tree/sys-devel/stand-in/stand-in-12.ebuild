EAPI=8
DESCRIPTION="Compiler, C library, Python, Portage and tools, as they are in the seed"
SRC_URI="https://example.org/${P}.tar.zst"
SLOT="0"
KEYWORDS="amd64"
RESTRICT="strip binchecks mirror"
S="${WORKDIR}"

src_unpack() {
	:
}

src_install() {
	tar --zstd -xpf "${DISTDIR}/${P}.tar.zst" -C "${ED}" || die
}
