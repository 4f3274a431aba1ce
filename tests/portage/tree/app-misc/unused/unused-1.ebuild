EAPI=8
DESCRIPTION="A package that no stage has"
SLOT="0"
KEYWORDS="amd64"
S="${WORKDIR}"
