#!/bin/sh
# Makes the first inputs of all targets from the conformance corpus: sh lang/fuzz/seed.sh
# An input is the main file of a case, then its other files, each after a NUL byte and a line with its name.
cd "$(dirname "$0")/../../tests/conformance" || exit 1
corpus=../../lang/fuzz/corpus
for target in parse format evaluate differential lsp; do
    mkdir -p "$corpus/$target"
done
for case in */; do
    case=${case%/}
    cp "$case/main.conf" "$corpus/parse/$case"
    (
        cd "$case" || exit 1
        cat main.conf
        find . -type f ! -name main.conf ! -name '*.json' | sort | while read -r file; do
            printf '\0%s\n' "${file#./}"
            cat "$file"
        done
        if [ -e args.json ]; then
            printf '\0=\n'
            sed -n 's/^ *"\([^"]*\)": "\([^"]*\)",\{0,1\}$/\1=\2/p' args.json
        fi
    ) > "$corpus/evaluate/$case"
    for target in format differential lsp; do
        cp "$corpus/evaluate/$case" "$corpus/$target/$case"
    done
    # Opens the first document, types into it, and asks about it.
    printf '\0@\n%s' @00000H00007I00010P00005p000a0q00500r00500s05000t00100u00500v00000w00000x00000y00000 >> "$corpus/lsp/$case"
done
