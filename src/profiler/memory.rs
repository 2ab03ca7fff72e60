//! What memory a model takes: resident memory of the process, as its instances come and run.
//!
//! An allocator keeps what was freed, so growth tells something only in a process that has done
//! nothing else. `bcedge profile` starts one for each model; if the system ends that one because
//! memory is used up, the profile knows its limit and the profiler lives.

use super::measure::{Effort, Part, together};
use super::point::{batch_ladder, instance_ladder};
use super::store::{Limit, Memory};
use crate::engine::Engine;
use crate::units::{BatchSize, InstanceCount};
use std::fmt;
use std::fs;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Each is run once or twice.
const ONCE: Effort = Effort { time: Duration::ZERO, min_runs: 1, max_time: Duration::ZERO };

/// One reading: what was there at most since the one before, in bytes. As a line of text it goes
/// from the measured process to the one that wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Before anything was loaded.
    Empty(u64),
    /// The model is loaded.
    Loaded(u64),
    /// So many instances are about to run that many items each.
    Trying(InstanceCount, BatchSize),
    /// They have.
    Ran(InstanceCount, BatchSize, u64),
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reading::Empty(bytes) => write!(f, "empty {bytes}"),
            Reading::Loaded(bytes) => write!(f, "loaded {bytes}"),
            Reading::Trying(instances, batch) => write!(f, "trying {instances} {batch}"),
            Reading::Ran(instances, batch, bytes) => write!(f, "ran {instances} {batch} {bytes}"),
        }
    }
}

impl FromStr for Reading {
    type Err = ();

    fn from_str(line: &str) -> Result<Reading, ()> {
        let mut words = line.split_whitespace();
        let kind = words.next().ok_or(())?;
        let numbers: Vec<u64> =
            words.map(|word| word.parse().map_err(|_| ())).collect::<Result<_, ()>>()?;
        let what = |instances: u64, batch: u64| -> Result<(InstanceCount, BatchSize), ()> {
            let instances = u16::try_from(instances).map_err(|_| ())?;
            Ok((InstanceCount(instances), BatchSize(u32::try_from(batch).map_err(|_| ())?)))
        };
        Ok(match (kind, &numbers[..]) {
            ("empty", &[bytes]) => Reading::Empty(bytes),
            ("loaded", &[bytes]) => Reading::Loaded(bytes),
            ("trying", &[instances, batch]) => {
                let (instances, batch) = what(instances, batch)?;
                Reading::Trying(instances, batch)
            }
            ("ran", &[instances, batch, bytes]) => {
                let (instances, batch) = what(instances, batch)?;
                Reading::Ran(instances, batch, bytes)
            }
            _ => return Err(()),
        })
    }
}

/// Takes the readings of the engine that `open` loads: one instance with each batch size, then the
/// largest batch with ever more instances. To be called in a process that has done nothing else.
///
/// # Errors
/// The engine's, or that the system does not tell a process's memory.
pub fn read_memory(
    open: impl FnOnce() -> Result<std::sync::Arc<dyn Engine>, String>,
    max_instances: InstanceCount,
    tell: &mut dyn FnMut(Reading),
) -> Result<(), String> {
    tell(Reading::Empty(peak_bytes()?));
    let engine = open()?;
    tell(Reading::Loaded(resident_bytes("VmRSS:")?));
    let batches = batch_ladder(engine.spec().max_batch);
    let largest = batches.last().copied().unwrap_or(BatchSize::ONE);
    let with_one = batches.iter().map(|&batch| (InstanceCount::ONE, batch));
    let with_more = instance_ladder(max_instances).into_iter().skip(1).map(|n| (n, largest));
    for (instances, batch) in with_one.chain(with_more) {
        tell(Reading::Trying(instances, batch));
        // Where the peak can't be reset it still is one, as these come in ascending order.
        let _ = fs::write("/proc/self/clear_refs", "5");
        let part = Part { engine: &*engine, batch, instances };
        together(&[part], ONCE, &AtomicBool::new(false)).map_err(|failure| failure.to_string())?;
        tell(Reading::Ran(instances, batch, peak_bytes()?));
    }
    Ok(())
}

/// What the readings say, and, when the process came to a bad end after them, what did not fit.
/// `ended` says in words how it ended; `None`: well.
pub fn evaluate(readings: &[Reading], ended: Option<&str>) -> (Option<Memory>, Option<Limit>) {
    let limit = match (ended, readings.last()) {
        (Some(reason), Some(&Reading::Trying(instances, batch)))
            if instances > InstanceCount::ONE || batch > BatchSize::ONE =>
        {
            let reason = format!("trying it in a process of its own: {reason}");
            // Of more instances only the largest batch was tried.
            Some(Limit { batch, instances, reason })
        }
        _ => None,
    };
    (memory(readings), limit)
}

fn memory(readings: &[Reading]) -> Option<Memory> {
    let find = |wanted: fn(&Reading) -> Option<u64>| readings.iter().find_map(wanted);
    let empty = find(|r| if let Reading::Empty(bytes) = r { Some(*bytes) } else { None })?;
    let loaded = find(|r| if let Reading::Loaded(bytes) = r { Some(*bytes) } else { None })?;
    let ran: Vec<(InstanceCount, BatchSize, u64)> = readings
        .iter()
        .filter_map(|reading| match *reading {
            Reading::Ran(instances, batch, bytes) => Some((instances, batch, bytes)),
            _ => None,
        })
        .collect();
    let one = ran.iter().filter(|(instances, ..)| *instances == InstanceCount::ONE);
    let instance_bytes: Vec<(BatchSize, u64)> =
        one.map(|&(_, batch, bytes)| (batch, bytes.saturating_sub(loaded))).collect();
    let &(largest, first) = instance_bytes.last()?;
    let most = ran.iter().rfind(|&&(n, batch, _)| n > InstanceCount::ONE && batch == largest);
    let further_instance_bytes = most.map(|&(instances, _, bytes)| {
        let others = u64::from(instances.0) - 1;
        bytes.saturating_sub(loaded).saturating_sub(first) / others
    });
    Some(Memory {
        loaded_bytes: loaded.saturating_sub(empty),
        instance_bytes,
        further_instance_bytes,
    })
}

/// The most that was resident since the process began or the peak was reset.
fn peak_bytes() -> Result<u64, String> {
    resident_bytes("VmHWM:")
}

fn resident_bytes(field: &str) -> Result<u64, String> {
    let unknown = |e: &dyn fmt::Display| format!("this system does not tell memory in use: {e}");
    let status = fs::read_to_string("/proc/self/status").map_err(|e| unknown(&e))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map(|kib| kib * 1024)
        .ok_or_else(|| unknown(&format!("{field} is not in /proc/self/status")))
}

/// What a new program could take, in bytes.
pub(super) fn available_bytes() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

impl Memory {
    /// Of so many instances with batches of that size, without the loaded model.
    pub fn instances_bytes(&self, batch: BatchSize, instances: InstanceCount) -> u64 {
        let known = self.instance_bytes.iter().find(|(size, _)| *size >= batch);
        let one = known.or(self.instance_bytes.last()).map_or(0, |&(_, bytes)| bytes);
        one.saturating_mul(u64::from(instances.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: fn(u16) -> InstanceCount = InstanceCount;
    const B: fn(u32) -> BatchSize = BatchSize;

    fn readings() -> Vec<Reading> {
        vec![
            Reading::Empty(10),
            Reading::Loaded(60),
            Reading::Trying(N(1), B(1)),
            Reading::Ran(N(1), B(1), 65),
            Reading::Trying(N(1), B(8)),
            Reading::Ran(N(1), B(8), 100),
            Reading::Trying(N(2), B(8)),
            Reading::Ran(N(2), B(8), 138),
            Reading::Trying(N(3), B(8)),
        ]
    }

    #[test]
    fn readings_come_through_as_text() {
        for reading in readings() {
            assert_eq!(reading.to_string().parse(), Ok(reading));
        }
        for bad in ["", "empty", "empty x", "loaded 1 2", "ran 1 2", "trying 70000 1", "went 1"] {
            assert_eq!(bad.parse::<Reading>(), Err(()), "{bad:?}");
        }
    }

    #[test]
    fn growth_is_told_apart_by_what_came() {
        let (memory, limit) = evaluate(&readings(), None);
        let expected = Memory {
            loaded_bytes: 50,
            instance_bytes: vec![(B(1), 5), (B(8), 40)],
            further_instance_bytes: Some(38),
        };
        assert_eq!((memory.clone(), limit), (Some(expected), None));
        assert_eq!(memory.unwrap().instances_bytes(B(4), N(2)), 80);
        assert_eq!(evaluate(&readings()[..3], None).0, None);
    }

    #[test]
    fn what_a_process_died_of_is_the_limit() {
        let (memory, limit) = evaluate(&readings(), Some("killed by signal 9"));
        assert!(memory.is_some());
        let limit = limit.unwrap();
        assert_eq!((limit.batch, limit.instances), (B(8), N(3)));
        assert!(limit.reason.contains("signal 9"), "{}", limit.reason);
        // One item in one instance is for the measuring itself to find out.
        assert_eq!(evaluate(&readings()[..3], Some("killed")).1, None);
        assert_eq!(evaluate(&readings()[..4], Some("killed")).1, None, "not while trying");
    }

    #[test]
    fn this_process_can_be_read() {
        assert!(peak_bytes().unwrap() >= resident_bytes("VmRSS:").unwrap() / 2);
        assert!(available_bytes().unwrap() > 1 << 20);
        assert!(resident_bytes("VmNothing:").unwrap_err().contains("VmNothing"));
    }
}
