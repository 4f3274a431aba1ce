EAPI=8
DESCRIPTION="What another package needs to be built, so that it goes into the seed"
SRC_URI="https://example.org/${P}.tar"
SLOT="0"
KEYWORDS="amd64"
S="${WORKDIR}"

src_install() {
	dobin tool
}
