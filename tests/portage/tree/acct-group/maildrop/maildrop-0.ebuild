EAPI=8
inherit accounts
DESCRIPTION="The group that mail is handed to"
SLOT="0"
KEYWORDS="amd64"
S="${WORKDIR}"

pkg_preinst() {
	accounts_group maildrop 208
}
