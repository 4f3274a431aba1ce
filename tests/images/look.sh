#!/bin/sh
# Lists every file of the root that it runs in: mode, owner, links, device, time, content. What file systems differ in
# (sizes and link counts of folders) is left out, and so are the folders that the kernel's own are mounted on.
cd /
find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev \) -prune -o -print | sort | while IFS= read -r file; do
    if [ -L "$file" ]; then
        echo "$file $(stat -c '%f %u:%g %Y' "$file") -> $(readlink "$file")"
    elif [ -d "$file" ]; then
        echo "$file $(stat -c '%f %u:%g %Y' "$file")"
    elif [ -f "$file" ]; then
        echo "$file $(stat -c '%f %u:%g %h %Y %s' "$file") $(sha256sum < "$file")"
    else
        echo "$file $(stat -c '%f %u:%g %h %t:%T %Y' "$file")"
    fi
done
