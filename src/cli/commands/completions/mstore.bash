# Completion of mstore and buildrepo in bash: asks `mstore complete` for the words.

_mstore() {
    COMPREPLY=()
    local word
    while IFS= read -r word; do
        COMPREPLY+=("$word")
    done < <(command mstore complete bash "$COMP_WORDBREAKS" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    # What is not finished goes on without a space.
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/:=] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

complete -o bashdefault -o nosort -F _mstore mstore buildrepo 2>/dev/null ||
    complete -o bashdefault -F _mstore mstore buildrepo
