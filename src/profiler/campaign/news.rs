//! What a campaign tells while it runs.

use super::super::store::Limit;
use std::fmt;

/// One thing the operator should see.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A profile that is there can't be used.
    Anew { model: String, reason: String },
    /// It goes on after so many of all points.
    Resumed { done: usize, total: usize },
    /// What is measured next; empty when that was the last.
    Progress { done: usize, total: usize, what: String },
    /// So many instances with such batches do not fit.
    Limit { model: String, limit: Limit },
    /// A combination could not be measured.
    Unfit { what: String, reason: String },
    /// A point was measured on a machine that was slower than its reference by this factor.
    Drift { what: String, factor: f64, lasting: bool },
    /// The machine is faster by this factor than when the campaign was begun.
    Faster { factor: f64 },
    /// So many marked points are measured once more, as the machine is itself again.
    Repair { points: usize },
    /// A model can't be measured at all.
    Failed { model: String, reason: String },
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            News::Anew { model, reason } => write!(f, "{model} is measured anew: {reason}"),
            News::Resumed { done, total } if done == total => {
                write!(f, "all {total} points are there already; --fresh measures them anew")
            }
            News::Resumed { done, total } => {
                write!(f, "{done} of {total} points are there already; going on after them")
            }
            News::Progress { done, total, what } => write!(f, "{done}/{total} {what}"),
            News::Limit { model, limit } => write!(
                f,
                "{model}: {} instances with batches of {} do not fit, so nothing larger is \
                 measured: {}",
                limit.instances, limit.batch, limit.reason
            ),
            News::Unfit { what, reason } => write!(f, "{what} is left out: {reason}"),
            News::Drift { what, factor, lasting: false } => write!(
                f,
                "{what}: the machine ran at {factor:.2} times its usual latency, three times over; \
                 the point is marked, and measured anew later"
            ),
            News::Drift { what, factor, lasting: true } => write!(
                f,
                "{what}: the machine still runs at {factor:.2} times its usual latency; the point \
                 is marked, and measured anew when the machine is itself again. If it stays like \
                 this, begin anew with --fresh"
            ),
            News::Faster { factor } => write!(
                f,
                "the machine has become {factor:.2} times as fast as it was in the beginning; what \
                 was measured then is measured anew"
            ),
            News::Repair { points } => {
                write!(f, "the machine is itself again; {points} marked points are measured anew")
            }
            News::Failed { model, reason } => write!(f, "{model}: {reason}"),
        }
    }
}
