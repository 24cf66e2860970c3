//! The span of a call, with the feature `tracing`; without it, nothing.
//!
//! Spans are entered and left, and events sent, by whoever polls a call, on its own stack: never on
//! a guest's fiber.

#[cfg(feature = "tracing")]
pub(super) use traced::CallSpan;
#[cfg(not(feature = "tracing"))]
pub(super) use untraced::CallSpan;

#[cfg(feature = "tracing")]
mod traced {
    use tracing::field::{Empty, display};
    use tracing::span::Entered;
    use tracing::{Level, Span};

    use crate::store::CallEnd;

    /// The span of a call, if somebody wants it.
    pub(in crate::store) struct CallSpan(Option<Box<Traced>>);

    struct Traced {
        span: Span,
        /// Fuel that the store had burned when the call began.
        fuel_before: u64,
    }

    impl CallSpan {
        pub(in crate::store) fn new(guest: &str, fuel_before: u64) -> Self {
            let span = tracing::span!(
                target: "lampwick", Level::INFO, "call", guest, fuel = Empty, end = Empty
            );
            Self((!span.is_disabled()).then(|| Box::new(Traced { span, fuel_before })))
        }

        /// Enters the span until the answer is dropped.
        pub(in crate::store) fn enter(&self) -> Option<Entered<'_>> {
            self.0.as_ref().map(|traced| traced.span.enter())
        }

        /// Says that the guest, which has burned so much, waits. The span must be entered.
        pub(in crate::store) fn parked(&self, guest: &str, fuel: u64) {
            tracing::event!(
                target: "lampwick", Level::DEBUG, guest, fuel, "the guest is parked"
            );
        }

        /// Says how the call ended.
        pub(in crate::store) fn ended(&self, guest: &str, fuel: u64, end: CallEnd) {
            let _entered = self.enter();
            if end.is_trap() {
                tracing::event!(
                    target: "lampwick", Level::INFO, guest, fuel, reason = %end, "the guest trapped"
                );
            }
            if let Some(Traced { span, fuel_before }) = self.0.as_deref() {
                span.record("fuel", fuel.saturating_sub(*fuel_before));
                span.record("end", display(end));
            }
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod untraced {
    use crate::store::CallEnd;

    /// Nothing.
    pub(in crate::store) struct CallSpan;

    /// Nothing that was entered.
    pub(in crate::store) struct Entered;

    impl CallSpan {
        pub(in crate::store) fn new(_guest: &str, _fuel_before: u64) -> Self {
            Self
        }

        pub(in crate::store) fn enter(&self) -> Entered {
            Entered
        }

        pub(in crate::store) fn parked(&self, _guest: &str, _fuel: u64) {}

        pub(in crate::store) fn ended(&self, _guest: &str, _fuel: u64, _end: CallEnd) {}
    }
}
