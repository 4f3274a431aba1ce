//! Takes from a build what it does not need: capabilities and system calls.

use rustix::thread::{CapabilitySet, CapabilitySets};

use super::seccomp;
use super::stages::{During, SetupStage, Trouble};
use crate::build::sys;

/// What builds in a root of their own need, and why:
///
/// - `CHOWN`, `FOWNER`, `FSETID`, `DAC_OVERRIDE`: install files of any owner and mode;
/// - `SETUID`, `SETGID`: run parts as another user (`su`, Portage's `userpriv`, test suites);
/// - `SETPCAP`: let such parts give up capabilities themselves;
/// - `SETFCAP`: give installed programs file capabilities (`setcap`);
/// - `KILL`: stop processes of those users;
/// - `SYS_CHROOT`: `chroot` into a stage that is being built;
/// - `NET_BIND_SERVICE`: servers under test on low ports of the loopback interface.
///
/// Left out on purpose: `MKNOD` (the kernel refuses device nodes in user namespaces anyway, fifos
/// and sockets need no capability), `DAC_READ_SEARCH` (all it adds to `DAC_OVERRIDE` is opening
/// files by handle), `NET_RAW`, `SYS_PTRACE` (tracing processes of the same user needs none), and
/// everything named `SYS_ADMIN` or stronger.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// Gives up privileges for good, for this process and all that it starts.
pub(crate) fn drop_privileges(for_32_bit: bool) -> Result<(), Trouble> {
    rustix::thread::clear_ambient_capability_set().during(SetupStage::Capabilities)?;
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if KEPT.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows no capability of that number, nor any above.
            Err(rustix::io::Errno::INVAL) => break,
            Err(e) => return Err(e).during(SetupStage::Capabilities),
        }
    }
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: KEPT,
            permitted: KEPT,
            inheritable: CapabilitySet::empty(),
        },
    )
    .during(SetupStage::Capabilities)?;
    rustix::thread::set_no_new_privs(true).during(SetupStage::Capabilities)?;
    let program = seccomp::program(for_32_bit)
        .ok_or(rustix::io::Errno::NOSYS)
        .during(SetupStage::Seccomp)?;
    match seccompiler::apply_filter(&program) {
        Ok(()) => Ok(()),
        Err(seccompiler::Error::Seccomp(e) | seccompiler::Error::Prctl(e)) => {
            Err(e).during(SetupStage::Seccomp)
        }
        Err(_) => Err(rustix::io::Errno::INVAL).during(SetupStage::Seccomp),
    }
}

/// Makes `uname` report the 32-bit machine.
pub(crate) fn pretend_32_bit() -> Result<(), Trouble> {
    sys::set_personality(sys::Personality::Linux32).during(SetupStage::Limits)
}
