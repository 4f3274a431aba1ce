#compdef mstore buildrepo
# Completion of mstore and buildrepo in zsh: asks `mstore complete` for the words.

_mstore() {
    local -a whole wholehelp begun
    local line word help
    while IFS= read -r line; do
        word="${line%%$'\t'*}"
        if [[ "$word" == *[/:=] ]]; then
            begun+=("$word")
            continue
        fi
        whole+=("$word")
        if [[ "$line" == *$'\t'* ]]; then
            wholehelp+=("$word -- ${line#*$'\t'}")
        else
            wholehelp+=("$word")
        fi
    done < <(command mstore complete zsh -- "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)
    # In the order in which they come; what is not finished goes on without a space.
    (( $#whole )) && compadd -V mstore -l -d wholehelp -a whole
    (( $#begun )) && compadd -V mstore-begun -S '' -a begun
    (( $#whole + $#begun ))
}

if [[ "${funcstack[1]}" == _mstore ]]; then
    _mstore "$@"
else
    compdef _mstore mstore buildrepo
fi
