# Installs mstore with its manual pages and completions.
#
#   make install                          # to /usr/local
#   make install PREFIX=/usr DESTDIR=root # for a package
#
# The program is built first, by cargo; MSTORE=FILE takes one that is built already. `make worker` builds the program
# that travels with jobs to engines of remote execution; what is there of it is installed beside the other.

PREFIX = /usr/local
DESTDIR =
MSTORE = target/release/mstore
WORKER = target/release/mstore-worker
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
MANDIR = $(DESTDIR)$(PREFIX)/share/man/man1
BASHDIR = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSHDIR = $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISHDIR = $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d

.PHONY: all install uninstall worker

all: $(MSTORE)

target/release/mstore:
	cargo build --release --locked

# Linked statically with glibc: it runs wherever the kernel does. The target is named so that the flags are not those
# of the programs that cargo runs while it builds.
worker:
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --no-default-features \
		--bin mstore-worker --target $(HOST)
	install -D -m 755 target/$(HOST)/release/mstore-worker $(WORKER)

install: $(MSTORE)
	install -d $(DESTDIR)$(PREFIX)/bin $(MANDIR) $(BASHDIR) $(ZSHDIR) $(FISHDIR)
	install -m 755 $(MSTORE) $(DESTDIR)$(PREFIX)/bin/mstore
	if [ -f $(WORKER) ]; then install -m 755 $(WORKER) $(DESTDIR)$(PREFIX)/bin/mstore-worker; fi
	ln -sf mstore $(DESTDIR)$(PREFIX)/bin/buildrepo
	ln -sf mstore $(DESTDIR)$(PREFIX)/bin/metro
	ln -sf mstore $(DESTDIR)$(PREFIX)/bin/dpb
	$(MSTORE) man $(MANDIR)
	$(MSTORE) completions bash > $(BASHDIR)/mstore
	$(MSTORE) completions zsh > $(ZSHDIR)/_mstore
	$(MSTORE) completions fish > $(FISHDIR)/mstore.fish

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/mstore $(DESTDIR)$(PREFIX)/bin/mstore-worker $(DESTDIR)$(PREFIX)/bin/buildrepo $(DESTDIR)$(PREFIX)/bin/metro $(DESTDIR)$(PREFIX)/bin/dpb
	rm -f $(MANDIR)/mstore.1 $(MANDIR)/mstore-*.1
	rm -f $(BASHDIR)/mstore $(ZSHDIR)/_mstore $(FISHDIR)/mstore.fish
