EAPI=8
DESCRIPTION="A library whose next version has another soname"
SLOT="0"
KEYWORDS="amd64"
S="${WORKDIR}"

src_compile() {
	gcc ${CFLAGS} ${LDFLAGS} -shared -fPIC -Wl,-soname,"libtide.so.${PV}" -o "libtide.so.${PV}" "${FILESDIR}/tide.c" || die
}

src_install() {
	exeinto /usr/lib/x86_64-linux-gnu
	doexe "libtide.so.${PV}"
	dosym "libtide.so.${PV}" /usr/lib/x86_64-linux-gnu/libtide.so
}
