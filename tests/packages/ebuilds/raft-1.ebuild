EAPI=8
DESCRIPTION="A program that uses a library, and says so or not"
SLOT="0"
KEYWORDS="amd64"
S="${WORKDIR}"

src_compile() {
	printf 'int tide(void); int main(void) { return tide() < 0; }\n' > raft.c
	gcc ${CFLAGS} ${LDFLAGS} -o raft raft.c -ltide || die
}

src_install() {
	dobin raft
}
