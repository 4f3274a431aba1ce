# Users and groups as packages: lines in the tables of the root that is merged into.
accounts_add() {
	local table="${EROOT}/etc/$1" name="${2%%:*}" mode=$3
	mkdir -p "${table%/*}" || die
	if [[ ! -e ${table} ]]; then
		: > "${table}" || die
		chmod "${mode}" "${table}" || die
	fi
	grep -q "^${name}:" "${table}" || echo "$2" >> "${table}" || die
}

accounts_group() {
	accounts_add group "$1:x:$2:" 644
}

accounts_user() {
	accounts_add passwd "$1:x:$2:$2:$1:/var/empty:/sbin/nologin" 644
	accounts_add shadow "$1:!:1::::::" 640
}
