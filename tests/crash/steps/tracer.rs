//! A child under `ptrace`: stepped, run to an instruction, made to do a system call, killed.
#![allow(unsafe_code)]

use nix::{
    sys::{
        ptrace,
        signal::{Signal, kill, raise},
        wait::{WaitStatus, waitpid},
    },
    unistd::{Pid, alarm},
};

use super::child;

/// Seconds after which a traced child counts as one that hangs: it is slowed down much.
const HANG_SECONDS: u32 = 60;
/// `syscall`, as the two lowest bytes of an instruction.
pub(super) const SYSCALL: u64 = 0x050f;
const SYSCALL_BYTES: u64 = 2;
const DEBUG_REGISTERS: usize = std::mem::offset_of!(libc::user, u_debugreg);
const RIP: usize = std::mem::offset_of!(libc::user, regs) + std::mem::offset_of!(libc::user_regs_struct, rip);

/// Why a traced child stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It was stepped, or has come to the instruction that it was to run to.
    Trap,
    /// It has done what it was to do.
    Done,
    /// It wrote to this address, where it may not.
    Fault(u64),
    /// It died, or it hangs.
    Dead,
}

/// A child that the harness traces. Killed when dropped.
pub(super) struct Traced {
    pid: Pid,
    alive: bool,
    /// The address of a `syscall` instruction: the child stands behind one when it gets here.
    syscall_at: u64,
}

impl Traced {
    /// Starts a child that gets itself ready and stands still just before `body`, and again just behind it.
    pub(super) fn start(ready: impl FnOnce(), body: impl FnOnce()) -> Self {
        let pid = child::fork(|| {
            ready();
            alarm::set(HANG_SECONDS);
            ptrace::traceme().expect("the parent may trace");
            raise(Signal::SIGSTOP).expect("a process may stop itself");
            body();
            raise(Signal::SIGSTOP).expect("a process may stop itself");
        });
        let mut traced = Self { pid, alive: true, syscall_at: 0 };
        assert_eq!(traced.wait(), Stop::Done, "the child gets ready: {}", child::panic_message());
        traced.syscall_at = traced.rip() - SYSCALL_BYTES;
        assert_eq!(traced.instruction(traced.syscall_at) & 0xffff, SYSCALL, "a process stops itself by a system call");
        traced
    }

    fn wait(&mut self) -> Stop {
        match waitpid(self.pid, None).expect("the child is there") {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => Stop::Trap,
            WaitStatus::Stopped(_, Signal::SIGSTOP) => Stop::Done,
            WaitStatus::Stopped(_, Signal::SIGSEGV) => Stop::Fault(self.fault_address()),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                self.alive = false;
                Stop::Dead
            }
            _ => Stop::Dead,
        }
    }

    fn fault_address(&self) -> u64 {
        let info = ptrace::getsiginfo(self.pid).expect("the child stands at a signal");
        // SAFETY: the signal is SIGSEGV, of which the address is a part.
        unsafe { info.si_addr() as u64 }
    }

    /// Has the child change the protection of its memory.
    pub(super) fn protect(&mut self, start: u64, len: u64, writable: bool) {
        let registers = ptrace::getregs(self.pid).expect("the child stands still");
        let mut call = registers;
        call.rip = self.syscall_at;
        call.rax = libc::SYS_mprotect as u64;
        (call.rdi, call.rsi) = (start, len);
        call.rdx = (libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 }) as u64;
        // Not a system call that is to be started over.
        call.orig_rax = u64::MAX;
        ptrace::setregs(self.pid, call).expect("the child stands still");
        assert_eq!(self.step(), Stop::Trap, "a system call is one step");
        let result = ptrace::getregs(self.pid).expect("the child stands still").rax;
        assert_eq!(result, 0, "the child may protect its own memory");
        ptrace::setregs(self.pid, registers).expect("the child stands still");
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets the child do one instruction.
    pub(super) fn step(&mut self) -> Stop {
        ptrace::step(self.pid, None).expect("the child stands still");
        self.wait()
    }

    /// Lets the child run until it stops by itself.
    pub(super) fn run(&mut self) -> Stop {
        ptrace::cont(self.pid, None).expect("the child stands still");
        self.wait()
    }

    /// The address of the next instruction.
    pub(super) fn rip(&self) -> u64 {
        ptrace::read_user(self.pid, RIP as ptrace::AddressType).expect("the child stands still") as u64
    }

    /// The first eight bytes of the instruction at `rip`.
    pub(super) fn instruction(&self, rip: u64) -> u64 {
        ptrace::read(self.pid, rip as ptrace::AddressType).map_or(0, |word| word as u64)
    }

    /// Runs to the `arrival`-th time that the child comes to `rip`.
    pub(super) fn run_to(&mut self, rip: u64, arrival: u32) -> Stop {
        self.set_debug_register(0, rip);
        self.set_debug_register(7, 1);
        let stop = (0..arrival).map(|_| self.run()).find(|&stop| stop != Stop::Trap).unwrap_or(Stop::Trap);
        if stop == Stop::Trap {
            self.set_debug_register(7, 0);
        }
        stop
    }

    fn set_debug_register(&self, number: usize, value: u64) {
        let at = DEBUG_REGISTERS + 8 * number;
        ptrace::write_user(self.pid, at as ptrace::AddressType, value as i64).expect("the child stands still");
    }

    /// Kills the child. When this returns the kernel has marked its slot.
    pub(super) fn kill(&mut self) {
        if self.alive {
            kill(self.pid, Signal::SIGKILL).expect("the child is there");
            while self.wait() != Stop::Dead || self.alive {}
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.kill();
    }
}
