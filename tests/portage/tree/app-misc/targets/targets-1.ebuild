EAPI=8
DESCRIPTION="A package that needs one target at least, as Python's do"
SLOT="0"
KEYWORDS="amd64"
IUSE="tool_targets_old tool_targets_new"
REQUIRED_USE="|| ( tool_targets_old tool_targets_new )"
S="${WORKDIR}"
BDEPEND="app-misc/tool"

src_install() {
	local target
	for target in ${IUSE}; do
		! use "${target}" || tool "${target}" >> targets || die
	done
	insinto /usr/share/targets
	doins targets
}
