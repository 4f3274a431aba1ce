# Capabilities of programs, given when they are in their place.
capabilities_set() {
	setcap "$1" "${EROOT}$2" || die "no capability $1 for $2"
}
