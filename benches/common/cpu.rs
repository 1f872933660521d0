//! CPU time: of this thread, of other processes, and of the whole machine.
//!
//! Of others it is known on Linux only, to the hundredth of a second that the kernel counts in.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of the thread that asks.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// CPU time of a process, all its threads, in and out of the kernel; nothing where that cannot be known.
pub fn process_cpu(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name, may hold anything, and ends with the last parenthesis.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(from_ticks(ticks()? + ticks()?))
}

/// CPU time of all processes of the machine; nothing where that cannot be known.
pub fn machine_cpu() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> = stat.lines().next()?.split_whitespace().skip(1).flat_map(str::parse).collect();
    // user, nice, system, idle, waiting for disks, interrupts, soft interrupts, stolen by the hypervisor
    let [user, nice, system, _, _, interrupts, soft_interrupts, stolen, ..] = fields[..] else { return None };
    Some(from_ticks(user + nice + system + interrupts + soft_interrupts + stolen))
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}
