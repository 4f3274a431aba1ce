//! What a step has: memory, devices.

use crate::Test;
use crate::place::Place;
use crate::tally::Tally;

pub const ALL: &[Test] = &[
    ("memory_is_bounded", memory_is_bounded),
    ("calls_of_32_bit_programs", calls_of_32_bit_programs),
    (
        "devices_are_all_there_is_in_dev",
        devices_are_all_there_is_in_dev,
    ),
];

fn memory_is_bounded(place: &Place, tally: &Tally) -> Option<&'static str> {
    // Every file system in memory, with its size as the list of mounts has it.
    place.targets(&[(
        "a",
        "base",
        &[("one", "while read -r line; do echo \"$line\"; done < /proc/self/mountinfo > /mounts\nhead -n 1 /proc/meminfo > /memory")],
    )]);
    place.tree("a");
    let memory = place.cat("a", "memory");
    let total: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    let mut sum = 0;
    for line in place.cat("a", "mounts").lines() {
        let (head, tail) = line.split_once(" - ").unwrap();
        let (at, kind) = (
            head.split(' ').nth(4).unwrap(),
            tail.split(' ').next().unwrap(),
        );
        if kind != "tmpfs" {
            continue;
        }
        let options = tail.rsplit(' ').next().unwrap().split(',');
        let size = options.filter_map(|o| o.strip_prefix("size=")).next();
        let size = size
            .and_then(|s| s.strip_suffix('k'))
            .and_then(|s| s.parse::<u64>().ok());
        tally.held(format!("{at} has a size"), size.is_some(), line);
        sum += size.unwrap_or_default();
    }
    tally.held(
        "all of them together",
        sum < total,
        format!("{sum} KiB of {total}"),
    );
    None
}

fn devices_are_all_there_is_in_dev(place: &Place, tally: &Tally) -> Option<&'static str> {
    let tries = [
        "echo x > /dev/file",
        "mkdir /dev/folder",
        "rm -f /dev/null",
        "rm /dev/stdin",
        "mv /dev/zero /dev/null",
        "ln -s /etc/passwd /dev/link",
        "chmod 777 /dev",
        "chmod 777 /dev/null",
        "chown 1:1 /dev/zero",
        "mknod /dev/disk b 8 0",
        "mknod /dev/mem c 1 1",
        "mknod /disk b 8 0",
        "touch -d @1 /dev",
        "touch -d @1 /dev/null",
        "setfattr -n user.x -v y /dev",
        "mount -o remount,rw /dev",
        "umount /dev/shm",
        "rmdir /dev/pts",
    ];
    // What must go on working.
    let works = [
        "echo x > /dev/null",
        "head -c 10 /dev/zero > /dev/null",
        "head -c 10 /dev/urandom > /dev/null",
        "! echo x > /dev/full",
        "echo x > /dev/shm/file && rm /dev/shm/file",
        "echo x > /dev/stdout",
        "echo x > /dev/fd/1",
        "perl -e 'open(my $f, \"+<\", \"/dev/ptmx\") or die'",
    ];
    let mut script = String::from("exec 2>&1\n");
    for line in tries.iter().chain(&works) {
        script.push_str(&format!(
            "if ( {line} ); then echo 'did: {}'; fi\n",
            line.replace('\'', "_")
        ));
    }
    place.targets(&[("a", "base", &[("one", &script)])]);
    place.tree("a");
    let log = place.run(&["log", "a-s"]).ok();
    let did = |line: &str| log.contains(&format!("did: {}\n", line.replace('\'', "_")));
    for line in tries {
        tally.held(line, !did(line), &log);
    }
    for line in works {
        tally.held(line, did(line), &log);
    }
    None
}

/// A program for i386 that makes one call and exits with its error.
fn program(call: u32, first: u32, second: u32) -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    let mut code = Vec::new();
    for (register, value) in [
        (0xb8, call),
        (0xbb, first),
        (0xb9, second),
        (0xba, 0),
        (0xbe, 0),
        (0xbf, 0),
    ] {
        code.push(register);
        code.extend(value.to_le_bytes());
    }
    // int 0x80; neg eax; mov ebx, eax; mov eax, 1; int 0x80
    code.extend([
        0xcd, 0x80, 0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80,
    ]);
    let len = 84 + u32::try_from(code.len()).unwrap();
    let mut all = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
    for word in [BASE + 84, 52, 0, 0] {
        all.extend(word.to_le_bytes());
    }
    for half in [52u16, 32, 1, 0, 0, 0] {
        all.extend(half.to_le_bytes());
    }
    for word in [1, 0, BASE, BASE, len, len, 5, 0x1000] {
        all.extend(word.to_le_bytes());
    }
    all.extend(code);
    all
}

/// A program for x86-64 that makes one call and exits with its error.
fn wide_program(call: u32, first: u32) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 120;
    let mut code = Vec::new();
    // mov eax, CALL; mov edi, FIRST; xor esi, esi; xor edx, edx; xor r10d, r10d; xor r8d, r8d; syscall
    for (register, value) in [(0xb8, call), (0xbf, first)] {
        code.push(register);
        code.extend(value.to_le_bytes());
    }
    code.extend([
        0x31, 0xf6, 0x31, 0xd2, 0x45, 0x31, 0xd2, 0x45, 0x31, 0xc0, 0x0f, 0x05,
    ]);
    // neg eax; mov edi, eax; mov eax, 60; syscall
    code.extend([0xf7, 0xd8, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]);
    let len = HEADERS + u64::try_from(code.len()).unwrap();
    let mut all = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [BASE + HEADERS, 64, 0] {
        all.extend(word.to_le_bytes());
    }
    all.extend([0; 4]);
    for half in [64u16, 56, 1, 0, 0, 0] {
        all.extend(half.to_le_bytes());
    }
    for word in [1u32, 5] {
        all.extend(word.to_le_bytes());
    }
    for word in [0, BASE, BASE, len, len, 0x1000] {
        all.extend(word.to_le_bytes());
    }
    all.extend(code);
    all
}

fn calls_of_32_bit_programs(place: &Place, tally: &Tally) -> Option<&'static str> {
    const EPERM: u32 = 1;
    const ENOSYS: u32 = 38;
    const EAFNOSUPPORT: u32 = 97;
    // Numbers of i386; the machine's own mean something else.
    let calls = [
        ("mount", 21, 0, 0, EPERM),
        ("umount2", 52, 0, 0, EPERM),
        ("reboot", 88, 0, 0, EPERM),
        ("swapon", 87, 0, 0, EPERM),
        ("init_module", 128, 0, 0, EPERM),
        ("pivot_root", 217, 0, 0, EPERM),
        ("kexec_load", 283, 0, 0, EPERM),
        ("add_key", 286, 0, 0, EPERM),
        ("keyctl", 288, 0, 0, EPERM),
        ("unshare, a user namespace", 310, 0x1000_0000, 0, EPERM),
        ("clone, a user namespace", 120, 0x1000_0011, 0, EPERM),
        ("perf_event_open", 336, 0, 0, EPERM),
        ("open_by_handle_at", 342, 0, 0, EPERM),
        ("setns", 346, 0, 0, EPERM),
        ("bpf", 357, 0, 0, EPERM),
        ("userfaultfd", 374, 0, 0, EPERM),
        ("ioctl TIOCSTI", 54, 0, 0x5412, EPERM),
        ("socket AF_VSOCK", 359, 40, 1, EAFNOSUPPORT),
        ("open_tree", 428, 0, 0, EPERM),
        ("mount_setattr", 442, 0, 0, EPERM),
        ("io_uring_setup", 425, 0, 0, ENOSYS),
        ("clone3", 435, 0, 0, ENOSYS),
        ("a call of tomorrow", 480, 0, 0, ENOSYS),
    ];
    // Of x86-64, and the same by the numbers of x32, which are all unknown.
    const X32: u32 = 0x4000_0000;
    let wide = [
        ("mount", 165, 0, EPERM),
        ("mount of x32", X32 | 165, 0, ENOSYS),
        (
            "unshare of x32, a user namespace",
            X32 | 272,
            0x1000_0000,
            ENOSYS,
        ),
        ("bpf of x32", X32 | 321, 0, ENOSYS),
        ("getpid of x32", X32 | 39, 0, ENOSYS),
    ];
    let mut script = String::from("exec 2>&1\n");
    // The one that must work: its own process id, which is no error.
    let narrow = [("getpid", 20, 0, 0, 0)].into_iter().chain(calls);
    let narrow = narrow
        .map(|(what, call, first, second, error)| (what, program(call, first, second), error));
    let wide = wide.map(|(what, call, first, error)| (what, wide_program(call, first), error));
    let all: Vec<_> = narrow.chain(wide).collect();
    for (n, (_, program, _)) in all.iter().enumerate() {
        let bytes: String = program.iter().map(|b| format!("\\{b:03o}")).collect();
        script.push_str(&format!(
            "printf '{bytes}' > /p{n}; chmod 755 /p{n}\n/p{n}; echo \"p{n} $?\"; rm /p{n}\n"
        ));
    }
    // A script that goes on after failures.
    let script = format!("#!/bin/sh\n{script}exit 0\n");
    place.targets(&[("a", "base", &[("one", &script)])]);
    place.tree("a");
    let log = place.run(&["log", "a-s"]).ok();
    if log.contains("p0 126\n") {
        return Some("this kernel runs no 32-bit programs");
    }
    for (n, (what, _, error)) in all.iter().enumerate().skip(1) {
        tally.held(what, log.contains(&format!("p{n} {error}\n")), &log);
    }
    None
}
