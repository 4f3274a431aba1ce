EAPI=8
DESCRIPTION="A file that another package has as well, behind a link of a folder"
SLOT="0"
KEYWORDS="amd64"
S="${WORKDIR}"

src_install() {
	printf '#!/bin/sh\nexit 1\n' > odd || die
	dobin odd
}
