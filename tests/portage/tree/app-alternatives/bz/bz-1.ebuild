EAPI=8
DESCRIPTION="Which program is called bz"
SLOT="0"
KEYWORDS="amd64"
IUSE="+reference other"
REQUIRED_USE="^^ ( reference other )"
RDEPEND="reference? ( app-arch/bzip2 )"
S="${WORKDIR}"

src_install() {
	if use reference; then
		dosym bzip2 /usr/bin/bz
	else
		dosym true /usr/bin/bz
	fi
}
