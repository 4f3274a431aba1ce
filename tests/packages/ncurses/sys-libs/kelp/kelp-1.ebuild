EAPI=8
DESCRIPTION="A library that is built with the help of a program that is linked with it"
SLOT="0"
KEYWORDS="amd64"
DEPEND="app-misc/loom"
S="${WORKDIR}"

src_compile() {
	! type -P loom > /dev/null || loom || die
	printf 'int kelp(void) { return 7; }\n' > kelp.c
	gcc ${CFLAGS} ${LDFLAGS} -shared -fPIC -Wl,-soname,"libkelp.so.${PV}" -o "libkelp.so.${PV}" kelp.c || die
}

src_install() {
	dolib.so "libkelp.so.${PV}"
	dosym "libkelp.so.${PV}" "/usr/$(get_libdir)/libkelp.so"
}
