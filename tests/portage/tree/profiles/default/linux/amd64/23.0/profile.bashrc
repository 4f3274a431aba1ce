# Some profiles look at where make.profile leads to; a folder tells them nothing.
if [[ ${EBUILD_PHASE} == setup && ! -L ${PORTAGE_CONFIGROOT%/}/etc/portage/make.profile ]]; then
	die "make.profile is not a link"
fi
