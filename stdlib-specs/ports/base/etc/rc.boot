#!/bin/sh
# Runs once when the system starts, before any service.
mount -a || echo "rc.boot: some file systems are not mounted"
[ ! -s /etc/hostname ] || hostname "$(cat /etc/hostname)"
mkdir -p /run/service
