EAPI=8
inherit accounts
DESCRIPTION="A package that the overlay alone has, with an eclass of its master"
SLOT="0"
KEYWORDS="amd64"
IUSE="plus"
S="${WORKDIR}"

src_install() {
	printf '#!/bin/sh\necho extra %s\n' "$(usev plus)" > extra || die
	dobin extra
}
