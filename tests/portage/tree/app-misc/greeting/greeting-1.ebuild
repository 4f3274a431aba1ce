EAPI=8
DESCRIPTION="A script to add and to take away"
SLOT="0"
KEYWORDS="amd64"
IUSE="loud"
S="${WORKDIR}"

src_install() {
	printf '#!/bin/sh\necho %s %s\n' "$(usex loud HELLO hello)" "${PV}" > greeting || die
	dobin greeting
}
