//! How programs end.

use std::error::Error;

use lampwick::Trap;

/// A program called `proc_exit`, or raised a signal that ends programs.
///
/// It is the error of the host function, and so the source of the call's [`Trap`], whose
/// [`i32_exit_status`](Trap::i32_exit_status) has the same number.
///
/// ```
/// use lampwick::Trap;
/// use lampwick_wasi::I32Exit;
///
/// let trap = Trap::from(anyhow::Error::new(I32Exit::new(3)));
/// assert_eq!(I32Exit::of(&trap).unwrap().0, 3);
/// assert_eq!(trap.i32_exit_status(), Some(3));
/// assert!(I32Exit::of(&Trap::new("out of luck")).is_none());
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error("the program ended itself")]
pub struct I32Exit(
    /// The status; 0 says that all went well. After a signal it is 128 and the signal's number, as
    /// shells have it.
    pub i32,
    #[source] Trap,
);

impl I32Exit {
    /// The end of a program with this status.
    pub fn new(status: i32) -> Self {
        Self(status, Trap::i32_exit(status))
    }

    /// The exit among an error and its sources, if there is one.
    pub fn of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |&error| error.source())
            .take(1000)
            .find_map(|error| error.downcast_ref())
    }
}
