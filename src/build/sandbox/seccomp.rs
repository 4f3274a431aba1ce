//! The system call filter of a build.
//!
//! Everything is allowed that is not named here: builds run arbitrary programs. What is refused
//! changes the machine or the sandbox itself (mounts, namespaces, modules, the clock), is not
//! separated by namespaces (kernel keyrings, `AF_VSOCK`), or has been the way out of sandboxes
//! too often to be left open for compilers that never ask for it (bpf, userfaultfd, io_uring).
//! Most of it is refused by the missing capabilities as well; two fences are better than one.
//!
//! The program is written out by hand since it must cover each of the instruction sets a machine
//! runs (i386 and x32 programs on x86-64, 32-bit ARM on aarch64): their call numbers differ, and
//! a filter that looks at the numbers of one alone can be walked around with another.

use seccompiler::sock_filter;

/// Refused as if not permitted.
const EPERM: u32 = 1;
/// Refused as if the kernel had no such call: programs then use the older one.
const ENOSYS: u32 = 38;
/// Refused as an unknown kind of socket.
const EAFNOSUPPORT: u32 = 97;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

// Offsets into `struct seccomp_data`. All machines here are little-endian, so the low half of an
// argument comes first; the calls that are looked at take 32-bit values there.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENT_0: u32 = 16;
const ARGUMENT_1: u32 = 24;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA

/// `CLONE_NEW{TIME,NS,CGROUP,UTS,IPC,USER,PID,NET}`. `CLONE_NEWTIME` shares its bit with the low
/// byte, which holds the exit signal of `clone`, so there it is left out.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
const NEW_TIME: u32 = 0x80;

const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;

const SOCKETCALL_SOCKET: u32 = 1;
const SOCKETCALL_SOCKETPAIR: u32 = 8;

/// Local sockets, IPv4, IPv6 and netlink: what a network namespace separates and builds use.
const FAMILIES: [u32; 4] = [1, 2, 10, 16];

/// Calls numbered alike everywhere begin here; from [`UNKNOWN`] on nobody has looked at them.
const UNKNOWN: u32 = 470;

/// The numbers of one instruction set.
struct Table {
    /// `AUDIT_ARCH_*`.
    arch: u32,
    eperm: &'static [u32],
    enosys: &'static [u32],
    clone: u32,
    unshare: u32,
    ioctl: u32,
    socket: u32,
    socketpair: u32,
    /// The one call that i386 once had for all that sockets can do, with arguments in memory.
    socketcall: Option<u32>,
    /// Numbers from here on belong to another calling convention (x32).
    foreign_from: Option<u32>,
    /// Numbers in this range are the machine's own and harmless (32-bit ARM).
    private: Option<(u32, u32)>,
}

/// Refused with EPERM on all machines: these have one number everywhere.
const COMMON_EPERM: &[u32] = &[
    428, // open_tree
    429, // move_mount
    430, // fsopen
    431, // fsconfig
    432, // fsmount
    433, // fspick
    442, // mount_setattr
    443, // quotactl_fd
    467, // open_tree_attr
];

/// Refused with ENOSYS on all machines.
const COMMON_ENOSYS: &[u32] = &[
    425, // io_uring_setup
    426, // io_uring_enter
    427, // io_uring_register
    435, // clone3: its flags lie behind a pointer
];

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
const fn number(n: libc::c_long) -> u32 {
    n as u32
}

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
const NATIVE: Table = Table {
    #[cfg(target_arch = "x86_64")]
    arch: 0xc000_003e,
    #[cfg(target_arch = "aarch64")]
    arch: 0xc000_00b7,
    #[cfg(target_arch = "riscv64")]
    arch: 0xc000_00f3,
    eperm: &[
        number(libc::SYS_mount),
        number(libc::SYS_umount2),
        number(libc::SYS_pivot_root),
        number(libc::SYS_swapon),
        number(libc::SYS_swapoff),
        number(libc::SYS_reboot),
        number(libc::SYS_kexec_load),
        #[cfg(target_arch = "x86_64")]
        320, // kexec_file_load, which not every C library names
        #[cfg(not(target_arch = "x86_64"))]
        294,
        number(libc::SYS_init_module),
        number(libc::SYS_finit_module),
        number(libc::SYS_delete_module),
        number(libc::SYS_bpf),
        number(libc::SYS_perf_event_open),
        number(libc::SYS_keyctl),
        number(libc::SYS_add_key),
        number(libc::SYS_request_key),
        number(libc::SYS_userfaultfd),
        number(libc::SYS_setns),
        number(libc::SYS_open_by_handle_at),
        number(libc::SYS_acct),
        number(libc::SYS_quotactl),
        number(libc::SYS_settimeofday),
        number(libc::SYS_clock_settime),
        number(libc::SYS_syslog),
        number(libc::SYS_vhangup),
        number(libc::SYS_fanotify_init),
        #[cfg(target_arch = "x86_64")]
        number(libc::SYS_iopl),
        #[cfg(target_arch = "x86_64")]
        number(libc::SYS_ioperm),
        #[cfg(target_arch = "x86_64")]
        174, // create_module
        #[cfg(target_arch = "x86_64")]
        134, // uselib
    ],
    enosys: &[],
    clone: number(libc::SYS_clone),
    unshare: number(libc::SYS_unshare),
    ioctl: number(libc::SYS_ioctl),
    socket: number(libc::SYS_socket),
    socketpair: number(libc::SYS_socketpair),
    socketcall: None,
    #[cfg(target_arch = "x86_64")]
    foreign_from: Some(0x4000_0000),
    #[cfg(not(target_arch = "x86_64"))]
    foreign_from: None,
    private: None,
};

/// i386 programs on x86-64.
#[cfg(target_arch = "x86_64")]
const COMPAT: Option<Table> = Some(Table {
    arch: 0x4000_0003,
    eperm: &[
        21,  // mount
        22,  // umount
        25,  // stime
        51,  // acct
        52,  // umount2
        79,  // settimeofday
        86,  // uselib
        87,  // swapon
        88,  // reboot
        101, // ioperm
        103, // syslog
        110, // iopl
        111, // vhangup
        115, // swapoff
        127, // create_module
        128, // init_module
        129, // delete_module
        131, // quotactl
        217, // pivot_root
        264, // clock_settime
        283, // kexec_load
        286, // add_key
        287, // request_key
        288, // keyctl
        336, // perf_event_open
        338, // fanotify_init
        342, // open_by_handle_at
        346, // setns
        350, // finit_module
        357, // bpf
        374, // userfaultfd
        404, // clock_settime64
    ],
    enosys: &[],
    clone: 120,
    unshare: 310,
    ioctl: 54,
    socket: 359,
    socketpair: 360,
    socketcall: Some(102),
    foreign_from: None,
    private: None,
});

/// 32-bit ARM programs on aarch64.
#[cfg(target_arch = "aarch64")]
const COMPAT: Option<Table> = Some(Table {
    arch: 0x4000_0028,
    eperm: &[
        21,  // mount
        51,  // acct
        52,  // umount2
        79,  // settimeofday
        86,  // uselib
        87,  // swapon
        88,  // reboot
        103, // syslog
        111, // vhangup
        115, // swapoff
        128, // init_module
        129, // delete_module
        131, // quotactl
        218, // pivot_root
        262, // clock_settime
        309, // add_key
        310, // request_key
        311, // keyctl
        347, // kexec_load
        364, // perf_event_open
        367, // fanotify_init
        371, // open_by_handle_at
        375, // setns
        379, // finit_module
        386, // bpf
        388, // userfaultfd
        401, // kexec_file_load
        404, // clock_settime64
    ],
    enosys: &[],
    clone: 120,
    unshare: 337,
    ioctl: 54,
    socket: 281,
    socketpair: 288,
    socketcall: None,
    foreign_from: None,
    private: Some((0x000f_0000, 0x0010_0000)),
});

#[cfg(target_arch = "riscv64")]
const COMPAT: Option<Table> = None;

/// The filter of this machine, or `None` when it has not been written for it.
///
/// 32-bit jobs keep `socketcall`, since their C libraries know nothing else; what kinds of sockets
/// they make cannot be seen. Everybody else loses it, or any program could use it to make others.
pub(crate) fn program(for_32_bit: bool) -> Option<Vec<sock_filter>> {
    #[cfg(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    ))]
    {
        let mut code = vec![op(LOAD, ARCH)];
        for table in std::iter::once(&NATIVE).chain(COMPAT.as_ref()) {
            let body = section(table, for_32_bit);
            // Another instruction set: skip this section. Its length does not fit the eight bits
            // of a conditional jump.
            code.push(branch(EQUAL, table.arch, 1, 0));
            code.push(op(JUMP, body.len() as u32));
            code.extend(body);
        }
        code.push(op(RETURN, ERRNO | ENOSYS));
        Some(code)
    }
    #[cfg(not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )))]
    {
        None
    }
}

fn op(code: u16, k: u32) -> sock_filter {
    branch(code, k, 0, 0)
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Decides on the calls of one instruction set; every path ends in a return.
fn section(table: &Table, for_32_bit: bool) -> Vec<sock_filter> {
    let mut code = vec![op(LOAD, NUMBER)];
    if let Some(from) = table.foreign_from {
        code.push(branch(AT_LEAST, from, 0, 1));
        code.push(op(RETURN, ERRNO | ENOSYS));
    }
    if let Some((from, to)) = table.private {
        code.push(branch(AT_LEAST, to, 2, 0));
        code.push(branch(AT_LEAST, from, 0, 1));
        code.push(op(RETURN, ALLOW));
    }
    code.push(branch(AT_LEAST, UNKNOWN, 0, 1));
    code.push(op(RETURN, ERRNO | ENOSYS));
    for (numbers, errno) in [
        (table.eperm, EPERM),
        (COMMON_EPERM, EPERM),
        (table.enosys, ENOSYS),
        (COMMON_ENOSYS, ENOSYS),
    ] {
        for &n in numbers {
            code.push(branch(EQUAL, n, 0, 1));
            code.push(op(RETURN, ERRNO | errno));
        }
    }
    // Each of these looks at an argument, which replaces the number: they must end in a return.
    for (n, flags) in [
        (table.clone, NEW_NAMESPACES),
        (table.unshare, NEW_NAMESPACES | NEW_TIME),
    ] {
        code.push(branch(EQUAL, n, 0, 4));
        code.push(op(LOAD, ARGUMENT_0));
        code.push(branch(ANY_BIT, flags, 0, 1));
        code.push(op(RETURN, ERRNO | EPERM));
        code.push(op(RETURN, ALLOW));
    }
    if let (Some(n), false) = (table.socketcall, for_32_bit) {
        code.push(branch(EQUAL, n, 0, 5));
        code.push(op(LOAD, ARGUMENT_0));
        code.push(branch(EQUAL, SOCKETCALL_SOCKET, 1, 0));
        code.push(branch(EQUAL, SOCKETCALL_SOCKETPAIR, 0, 1));
        code.push(op(RETURN, ERRNO | EAFNOSUPPORT));
        code.push(op(RETURN, ALLOW));
    }
    code.push(branch(EQUAL, table.ioctl, 0, 5));
    code.push(op(LOAD, ARGUMENT_1));
    code.push(branch(EQUAL, TIOCSTI, 1, 0));
    code.push(branch(EQUAL, TIOCLINUX, 0, 1));
    code.push(op(RETURN, ERRNO | EPERM));
    code.push(op(RETURN, ALLOW));
    code.push(branch(EQUAL, table.socket, 1, 0));
    code.push(branch(EQUAL, table.socketpair, 0, FAMILIES.len() as u8 + 2));
    code.push(op(LOAD, ARGUMENT_0));
    for (i, family) in FAMILIES.iter().enumerate() {
        code.push(branch(EQUAL, *family, (FAMILIES.len() - i) as u8, 0));
    }
    code.push(op(RETURN, ERRNO | EAFNOSUPPORT));
    code.push(op(RETURN, ALLOW));
    code
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// Interprets the filter as the kernel would.
    fn decide(arch: u32, number: u32, args: [u64; 2]) -> u32 {
        decide_for(false, arch, number, args)
    }

    fn decide_for(for_32_bit: bool, arch: u32, number: u32, args: [u64; 2]) -> u32 {
        let code = program(for_32_bit).unwrap();
        let (mut at, mut acc) = (0, 0_u32);
        loop {
            let i = &code[at];
            at += 1;
            let go = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
            match i.code {
                LOAD => {
                    acc = match i.k {
                        NUMBER => number,
                        ARCH => arch,
                        ARGUMENT_0 => args[0] as u32,
                        ARGUMENT_1 => args[1] as u32,
                        other => panic!("{other}"),
                    }
                }
                EQUAL => at += go(acc == i.k),
                AT_LEAST => at += go(acc >= i.k),
                ANY_BIT => at += go(acc & i.k != 0),
                JUMP => at += i.k as usize,
                RETURN => return i.k,
                other => panic!("{other}"),
            }
        }
    }

    const X86_64: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;

    #[test]
    fn ordinary_calls_pass() {
        for n in [0, 1, 2, 57, 59, 101, 161, 302, 439] {
            assert_eq!(decide(X86_64, n, [0, 0]), ALLOW, "{n}");
        }
        for n in [1, 3, 4, 5, 11, 102, 136] {
            assert_eq!(decide(I386, n, [0, 0]), ALLOW, "{n}");
        }
    }

    #[test]
    fn mounting_and_the_like_is_refused_for_both_instruction_sets() {
        for n in [
            165, 166, 155, 169, 175, 246, 250, 298, 308, 321, 323, 429, 442,
        ] {
            assert_eq!(decide(X86_64, n, [0, 0]), ERRNO | EPERM, "{n}");
        }
        for n in [21, 22, 52, 217, 88, 346, 357, 429] {
            assert_eq!(decide(I386, n, [0, 0]), ERRNO | EPERM, "{n}");
        }
        for n in [425, 435, 470, 100_000, 0x4000_0000 + 165] {
            assert_eq!(decide(X86_64, n, [0, 0]), ERRNO | ENOSYS, "{n}");
        }
        assert_eq!(decide(0x1234, 1, [0, 0]), ERRNO | ENOSYS);
    }

    #[test]
    fn arguments_decide() {
        let sigchld = 17;
        assert_eq!(decide(X86_64, 56, [sigchld, 0]), ALLOW);
        assert_eq!(
            decide(X86_64, 56, [sigchld | 0x1000_0000, 0]),
            ERRNO | EPERM
        );
        assert_eq!(decide(X86_64, 272, [0x400, 0]), ALLOW);
        assert_eq!(decide(X86_64, 272, [0x80, 0]), ERRNO | EPERM);
        assert_eq!(decide(X86_64, 16, [0, 0x5401]), ALLOW);
        assert_eq!(decide(X86_64, 16, [0, 0x5412]), ERRNO | EPERM);
        // The kernel looks at the low half alone, and so must the filter.
        assert_eq!(
            decide(X86_64, 16, [0, 0xffff_ffff_0000_5412]),
            ERRNO | EPERM
        );
        assert_eq!(decide(X86_64, 16, [0, 0x541c]), ERRNO | EPERM);
        for family in [1, 2, 10, 16] {
            assert_eq!(decide(X86_64, 41, [family, 0]), ALLOW);
            assert_eq!(decide(X86_64, 53, [family, 0]), ALLOW);
            assert_eq!(decide(I386, 359, [family, 0]), ALLOW);
        }
        for call in [1, 8] {
            assert_eq!(decide(I386, 102, [call, 0]), ERRNO | EAFNOSUPPORT);
            assert_eq!(decide_for(true, I386, 102, [call, 0]), ALLOW);
        }
        assert_eq!(decide(I386, 102, [3, 0]), ALLOW);
        assert_eq!(decide(I386, 54, [0, 0x5412]), ERRNO | EPERM);
        for family in [0, 17, 38, 40] {
            assert_eq!(decide(X86_64, 41, [family, 0]), ERRNO | EAFNOSUPPORT);
        }
    }
}
