# What the Makefiles of ports share. A port sets
#
#   PROGRAM   the name of its program
#   SRCS      its C sources
#   APPLETS   the names under which the program can be called besides its own (may be empty)
#
# and includes this file. `make install` puts everything below DESTDIR. LIBSEED is where the port
# libseed is installed.

# No rules but these: make would build a program `install` from install.c.
MAKEFLAGS += -r

CC = cc
CFLAGS ?= -O2 -pipe
LIBSEED ?= /usr
WARNINGS = -Wall -Wextra

# Static programs run in any root, but not every distribution has the static C library.
STATIC := $(if $(wildcard $(shell $(CC) -print-file-name=libc.a)),-static)

OBJS = $(SRCS:.c=.o)

$(PROGRAM): $(OBJS) $(LIBSEED)/lib/libseed.a
	$(CC) $(CFLAGS) $(STATIC) -s $(LDFLAGS) -o $@ $(OBJS) $(LIBSEED)/lib/libseed.a

%.o: %.c $(wildcard *.h) $(LIBSEED)/include/seed.h
	$(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) $(CPPFLAGS) -I$(LIBSEED)/include $(CFLAGS) -c -o $@ $<

.PHONY: install install-program clean
install-program: $(PROGRAM)
	mkdir -p $(DESTDIR)/usr/bin
	cp $(PROGRAM) $(DESTDIR)/usr/bin/$(PROGRAM)
	chmod 755 $(DESTDIR)/usr/bin/$(PROGRAM)
	cd $(DESTDIR)/usr/bin && for name in $(APPLETS); do ln -s $(PROGRAM) "$$name" || exit 1; done

clean:
	rm -f $(PROGRAM) $(OBJS)
