EAPI=8
inherit accounts
DESCRIPTION="The user that mail is handed to"
SLOT="0"
KEYWORDS="amd64"
RDEPEND="acct-group/maildrop"
S="${WORKDIR}"

pkg_preinst() {
	accounts_user maildrop 208
}
