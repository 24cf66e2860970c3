//! `poll_oneoff`: waiting for the first of several things, with the guest's fiber suspended.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wiggle::{GuestMemory, GuestPtr};

use crate::bindings::types::{
    Clockid, Errno, Error, Event, EventFdReadwrite, Eventrwflags, Eventtype, Fd, Rights, Size,
    Subclockflags, Subscription, SubscriptionClock, SubscriptionU,
};
use crate::ctx::WasiCtx;
use crate::errno::Result;
use crate::table::{Kind, Table};

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What one subscription waits for.
enum Wait {
    Clock(Duration),
    Read(Fd),
    Write(Fd),
    /// A pipe or device, and what will tell.
    File(Interest, AsyncFd<Arc<std::fs::File>>),
    /// What is known at once.
    Known(Result<(u64, Eventrwflags), Errno>),
}

struct Waiting {
    subscription: Subscription,
    wait: Wait,
}

/// What is ready: how many bytes, and whether the other end is gone.
type Ready = Result<(u64, Eventrwflags), Errno>;

impl WasiCtx {
    pub(crate) async fn poll(
        &mut self,
        memory: &mut GuestMemory<'_>,
        subscriptions: GuestPtr<Subscription>,
        events: GuestPtr<Event>,
        len: Size,
    ) -> Result<Size> {
        if len == 0 {
            return Err(Errno::Inval.into());
        }
        self.limits.check_list(len)?;
        // Checked before anything is waited for: what a wait tells is not to be lost.
        let size = len.checked_mul(SIZE_OF_EVENT).ok_or(Errno::Fault)?;
        memory.as_slice(events.cast::<u8>().as_array(size))?;
        let mut waiting = Vec::with_capacity(len as usize);
        for at in subscriptions.as_array(len).iter() {
            let subscription = memory.read(at?)?;
            let wait = self.wait_for(&subscription).await?;
            waiting.push(Waiting { subscription, wait });
        }
        let ready = self.first_of(&mut waiting).await;
        let count = ready.len() as Size;
        for (event, at) in ready.into_iter().zip(events.as_array(count).iter()) {
            memory.write(at?, event)?;
        }
        Ok(count)
    }

    async fn wait_for(&self, subscription: &Subscription) -> Result<Wait> {
        let wait = match &subscription.u {
            SubscriptionU::Clock(clock) => self.wait_for_clock(clock),
            SubscriptionU::FdRead(on) => self.wait_for_descriptor(on.file_descriptor, true).await,
            SubscriptionU::FdWrite(on) => self.wait_for_descriptor(on.file_descriptor, false).await,
        };
        match wait {
            // What is wrong with one subscription is told in its event.
            Err(error) => Ok(Wait::Known(Err(error.downcast().map_err(Error::trap)?))),
            wait => wait,
        }
    }

    fn wait_for_clock(&self, clock: &SubscriptionClock) -> Result<Wait> {
        let SubscriptionClock { id, timeout, flags, .. } = *clock;
        // No time passes on it while the program waits.
        if matches!(id, Clockid::ProcessCputimeId | Clockid::ThreadCputimeId) {
            return Err(Errno::Inval.into());
        }
        let absolute = flags.contains(Subclockflags::SUBSCRIPTION_CLOCK_ABSTIME);
        let now = self.clocks.now(id)?;
        let left = if absolute { timeout.saturating_sub(now) } else { timeout };
        Ok(Wait::Clock(Duration::from_nanos(left)))
    }

    async fn wait_for_descriptor(&self, fd: Fd, read: bool) -> Result<Wait> {
        let descriptor = self.table.get(fd)?;
        let io = if read { Rights::FD_READ } else { Rights::FD_WRITE };
        if !descriptor.base.intersects(Rights::POLL_FD_READWRITE | io) {
            return Err(Errno::Notcapable.into());
        }
        let interest = if read { Interest::READABLE } else { Interest::WRITABLE };
        Ok(match &descriptor.kind {
            Kind::File(file) => match file.readiness(interest)? {
                Some(ready) => Wait::File(interest, ready),
                None if read => Wait::Known(Ok((file.bytes_left().await?, Eventrwflags::empty()))),
                None => Wait::Known(Ok((0, Eventrwflags::empty()))),
            },
            Kind::Input(_) | Kind::Listener(_) if read => Wait::Read(fd),
            Kind::Output(_) if !read => Wait::Write(fd),
            Kind::Stream(_) if read => Wait::Read(fd),
            Kind::Stream(_) => Wait::Write(fd),
            _ => return Err(Errno::Badf.into()),
        })
    }

    /// Waits until at least one is ready, and answers all that are.
    async fn first_of(&mut self, waiting: &mut [Waiting]) -> Vec<Event> {
        let shortest = waiting.iter().filter_map(|waiting| match waiting.wait {
            Wait::Clock(left) => Some(left),
            _ => None,
        });
        let shortest = shortest.min();
        let mut sleep: Option<Sleep> =
            shortest.filter(|left| !left.is_zero()).map(|left| self.clocks.monotonic.sleep(left));
        let table = &mut self.table;
        poll_fn(|cx| {
            let slept = match &mut sleep {
                Some(sleep) => sleep.as_mut().poll(cx).is_ready(),
                None => shortest.is_some(),
            };
            let events = waiting.iter_mut().filter_map(|waiting| {
                let ready = match &mut waiting.wait {
                    Wait::Clock(left) if slept && Some(*left) == shortest => {
                        Poll::Ready(Ok((0, Eventrwflags::empty())))
                    }
                    Wait::Clock(_) => Poll::Pending,
                    Wait::Known(ready) => Poll::Ready(*ready),
                    wait => poll_descriptor(table, wait, cx),
                };
                match ready {
                    Poll::Ready(ready) => Some(event(&waiting.subscription, ready)),
                    Poll::Pending => None,
                }
            });
            let events: Vec<Event> = events.collect();
            if events.is_empty() { Poll::Pending } else { Poll::Ready(events) }
        })
        .await
    }
}

/// How many bytes an event takes in a guest's memory.
const SIZE_OF_EVENT: u32 = 32;

fn poll_descriptor(table: &mut Table, wait: &mut Wait, cx: &mut Context<'_>) -> Poll<Ready> {
    let ready = match wait {
        Wait::File(interest, file) => {
            let ready = if interest.is_readable() {
                ready!(file.poll_read_ready(cx))
            } else {
                ready!(file.poll_write_ready(cx))
            };
            ready.map(|guard| {
                let closed = guard.ready().is_read_closed() || guard.ready().is_write_closed();
                (0, hangup_if(closed))
            })
        }
        Wait::Read(fd) => ready!(poll_read(table, *fd, cx)),
        Wait::Write(fd) => ready!(poll_write(table, *fd, cx)),
        Wait::Clock(_) | Wait::Known(_) => unreachable!("these are no descriptors"),
    };
    Poll::Ready(ready.map_err(|error| Errno::from(&error)))
}

fn poll_read(
    table: &mut Table,
    fd: Fd,
    cx: &mut Context<'_>,
) -> Poll<io::Result<(u64, Eventrwflags)>> {
    let (available, ended) = match table.get_mut(fd).map(|descriptor| &mut descriptor.kind) {
        Ok(Kind::Input(input)) => {
            let available = ready!(input.poll_available(cx))? as u64;
            (available, available == 0)
        }
        Ok(Kind::Stream(stream)) => ready!(stream.poll_available(cx))?,
        Ok(Kind::Listener(listener)) => {
            ready!(listener.poll_available(cx))?;
            (1, false)
        }
        _ => unreachable!("descriptors do not change while the guest waits"),
    };
    Poll::Ready(Ok((available, hangup_if(ended))))
}

fn poll_write(
    table: &mut Table,
    fd: Fd,
    cx: &mut Context<'_>,
) -> Poll<io::Result<(u64, Eventrwflags)>> {
    match table.get_mut(fd).map(|descriptor| &mut descriptor.kind) {
        Ok(Kind::Output(output)) => ready!(output.poll_writable(cx))?,
        Ok(Kind::Stream(stream)) => ready!(stream.poll_writable(cx))?,
        _ => unreachable!("descriptors do not change while the guest waits"),
    }
    Poll::Ready(Ok((0, Eventrwflags::empty())))
}

fn hangup_if(closed: bool) -> Eventrwflags {
    if closed { Eventrwflags::FD_READWRITE_HANGUP } else { Eventrwflags::empty() }
}

fn event(subscription: &Subscription, ready: Ready) -> Event {
    let (error, (nbytes, flags)) = match ready {
        Ok(ready) => (Errno::Success, ready),
        Err(error) => (error, (0, Eventrwflags::empty())),
    };
    let type_ = match subscription.u {
        SubscriptionU::Clock(_) => Eventtype::Clock,
        SubscriptionU::FdRead(_) => Eventtype::FdRead,
        SubscriptionU::FdWrite(_) => Eventtype::FdWrite,
    };
    let fd_readwrite = EventFdReadwrite { nbytes, flags };
    Event { userdata: subscription.userdata, error, type_, fd_readwrite }
}
