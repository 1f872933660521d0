//! Waiting for sockets or for an instant, whichever comes first, to the microsecond.
//!
//! What waits for sockets counts in whole milliseconds, which is longer than most answers take here. Linux has
//! timers that are waited for like sockets; elsewhere an instant is met to the millisecond, and the load generator
//! reports how late it was. Even so a thread that sleeps wakes some tens of microseconds late, as much as a cache hit
//! takes. So the last of a wait is spent awake, looking at the sockets again and again.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

/// The end of a wait that is spent awake: longer than it takes to wake up, and short beside the time between requests.
const AWAKE: Duration = Duration::from_micros(50);

/// Sockets and a timer.
pub struct Waiter {
    /// Where sockets are registered, under any token but [`TIMER`].
    pub poll: Poll,
    #[cfg(target_os = "linux")]
    timer: std::os::fd::OwnedFd,
}

/// The token under which the timer shows among the events.
pub const TIMER: Token = Token(usize::MAX);

impl Waiter {
    /// Waits for nothing yet.
    pub fn new() -> io::Result<Waiter> {
        let poll = Poll::new()?;
        #[cfg(target_os = "linux")]
        let timer = precise::register(&poll)?;
        Ok(Waiter {
            poll,
            #[cfg(target_os = "linux")]
            timer,
        })
    }

    /// Waits until something happens to a socket or it is nearly `until`.
    pub fn wait(&mut self, events: &mut Events, until: Instant) -> io::Result<()> {
        let wait = until.saturating_duration_since(Instant::now()).saturating_sub(AWAKE);
        match self.poll.poll(events, self.arm(wait)?) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            outcome => outcome,
        }
    }

    /// Sets the timer, and tells what is left for the poll itself to wait.
    #[cfg(target_os = "linux")]
    fn arm(&self, wait: Duration) -> io::Result<Option<Duration>> {
        if wait.is_zero() {
            return Ok(Some(wait));
        }
        precise::set(&self.timer, wait).map(|()| None)
    }

    #[cfg(not(target_os = "linux"))]
    fn arm(&self, wait: Duration) -> io::Result<Option<Duration>> {
        Ok(Some(wait))
    }
}

#[cfg(target_os = "linux")]
mod precise {
    use std::os::fd::{AsRawFd, OwnedFd};

    use mio::unix::SourceFd;
    use mio::{Interest, Poll};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };

    use super::{Duration, TIMER, io};

    pub fn register(poll: &Poll) -> io::Result<OwnedFd> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(timer)
    }

    /// Has the timer ring once, `wait` from now; whatever it was set to before is forgotten.
    pub fn set(timer: &OwnedFd, wait: Duration) -> io::Result<()> {
        let it_value = Timespec::try_from(wait).map_err(io::Error::other)?;
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
        Ok(())
    }
}
