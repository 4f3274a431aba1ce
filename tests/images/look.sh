#!/bin/sh
# Lists every file of the root that it runs in: mode, owner, links, device, time, content. What file systems differ in
# (sizes and link counts of folders) is left out, and so are the folders that the kernel's own are mounted on. It is said to a
# machine's shell, starts few processes and takes the quickest sum: the machine is slow, and nobody deceives it.
cd /
all() { find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run \) -prune -o "$@" -print0 | sort -z; }
all -type d | xargs -0 stat -c '%n %f %u:%g %Y'
all -type f | xargs -0 stat -c '%n %f %u:%g %h %Y %s'
all -type f | xargs -0 md5sum
all -type l | xargs -0 stat -c '%N %f %u:%g %Y'
all ! -type d ! -type f ! -type l | xargs -0 -r stat -c '%n %f %u:%g %h %t:%T %Y'
