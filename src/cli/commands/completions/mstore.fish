# Completion of mstore and buildrepo in fish: asks `mstore complete` for the words.

function __mstore_complete
    command mstore complete fish -- (commandline -opc) (commandline -ct) 2>/dev/null
end

complete -c mstore -f -k -a '(__mstore_complete)'
complete -c buildrepo -f -k -a '(__mstore_complete)'
