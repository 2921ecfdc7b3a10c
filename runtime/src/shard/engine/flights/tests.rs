//! Flights with a device that ends reads in any way.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::*;
use crate::device::read_path::Errno;

const SLOTS: Slots = Slots {
    small: 4,
    small_bytes: 4096,
    large: 2,
    large_bytes: 16_384,
};

/// A device whose reads end as a test says, and bring their offset in every byte.
#[derive(Clone, Default)]
struct Device(Rc<RefCell<VecDeque<Read>>>);

// SAFETY: it completes nothing in its turns; `Device::end` ends each read once.
unsafe impl ReadPath for Device {
    unsafe fn queue(&mut self, read: Read) {
        self.0.borrow_mut().push_back(read);
    }

    fn turn(&mut self, _: Wait, _: &mut Vec<Completion>) -> std::io::Result<()> {
        Ok(())
    }
}

impl Device {
    /// Ends the oldest read in flight.
    fn end(&self, flights: &mut Flights<'_>, result: Result<u32, Errno>) -> (u32, Advance) {
        let read = self.0.borrow_mut().pop_front().unwrap();
        if let Ok(bytes) = result {
            let byte = (read.offset / 512) as u8;
            // SAFETY: the buffer is the read's until its completion, which comes below.
            unsafe { read.buffer.write_bytes(byte, bytes as usize) };
        }
        flights.reads_in_path -= 1;
        let completion = Completion {
            token: read.token,
            result,
        };
        (read.token, flights.advance(completion))
    }
}

fn new_read(part: u32, offset: u64, bytes: u32, target: Target) -> NewRead {
    NewRead {
        rows: PartRows {
            part,
            group: 0,
            first_entry: 0,
            entries: 1,
        },
        file: 0,
        planned: PlannedRead {
            dir: 0,
            offset,
            bytes,
            entries: 1,
        },
        target,
        planned_at: 0,
        is_retry: false,
    }
}

fn begin(flights: &mut Flights<'_>, offset: u64, bytes: u32) {
    let target = flights.room(bytes).unwrap().unwrap();
    flights.acquire(new_read(0, offset, bytes, target));
}

#[test]
fn a_short_read_goes_on_where_it_ended_and_a_token_is_free_after_its_release() {
    let arena = Arena::new(SLOTS).unwrap();
    let device = Device::default();
    let mut flights = Flights::new(&arena, 512, Box::new(device.clone()));
    begin(&mut flights, 4096, 2048);
    assert_eq!((flights.executing(), flights.available()), (1, 3));
    let (_, advance) = device.end(&mut flights, Ok(1024));
    assert!(matches!(advance, Advance::Continued));
    let (_, advance) = device.end(&mut flights, Err(libc::EINTR));
    assert!(matches!(advance, Advance::Continued));
    let (token, advance) = device.end(&mut flights, Ok(1024));
    assert!(matches!(advance, Advance::Complete(None)));
    let (bytes, _) = flights.bytes(token);
    assert_eq!(bytes.len(), 2048);
    assert!(bytes[..1024].iter().all(|&byte| byte == 8));
    assert!(bytes[1024..].iter().all(|&byte| byte == 10));
    assert_eq!(flights.executing(), 1);
    assert!(!flights.release(token).made_room);
    assert_eq!((flights.executing(), flights.available()), (0, 4));
    assert!(flights.is_path_empty());
}

#[test]
fn a_read_ends_where_the_device_cannot_go_on() {
    let arena = Arena::new(SLOTS).unwrap();
    let device = Device::default();
    let mut flights = Flights::new(&arena, 512, Box::new(device.clone()));
    for (result, bytes) in [(Ok(700), 700), (Ok(100), 100), (Ok(0), 0)] {
        begin(&mut flights, 0, 2048);
        let (token, advance) = device.end(&mut flights, result);
        assert!(matches!(advance, Advance::Complete(None)), "{result:?}");
        assert_eq!(flights.bytes(token).0.len(), bytes);
        flights.release(token);
    }
    begin(&mut flights, 0, 2048);
    let (token, advance) = device.end(&mut flights, Err(libc::EIO));
    let failed = FaultKind::Io { errno: libc::EIO };
    assert!(matches!(advance, Advance::Complete(Some(kind)) if kind == failed));
    flights.release(token);
}

#[test]
fn a_large_slot_serves_one_read_and_the_next_waits_for_it() {
    let arena = Arena::new(SLOTS).unwrap();
    let device = Device::default();
    let mut flights = Flights::new(&arena, 512, Box::new(device.clone()));
    assert_eq!(flights.read_bytes_max(), SLOTS.large_bytes);
    begin(&mut flights, 0, 8192);
    begin(&mut flights, 8192, 8192);
    assert!(flights.room(8192).unwrap().is_none());
    assert_eq!(flights.read_bytes_max(), SLOTS.small_bytes);
    assert!(flights.room(4096).unwrap().is_some());
    let (first, _) = device.end(&mut flights, Ok(8192));
    let (second, _) = device.end(&mut flights, Ok(8192));
    assert!(flights.bytes(first).0.iter().all(|&byte| byte == 0));
    assert!(flights.bytes(second).0.iter().all(|&byte| byte == 16));
    assert!(flights.release(second).made_room);
    assert!(flights.room(8192).unwrap().is_some());
    assert!(flights.release(first).made_room);
}

#[test]
fn reads_larger_than_a_slot_are_bounded_but_one_is_always_read() {
    let arena = Arena::new(SLOTS).unwrap();
    let device = Device::default();
    let mut flights = Flights::new(&arena, 512, Box::new(device.clone()));
    let bytes = 2 * OVERSIZE_BYTES_MAX as u32;
    begin(&mut flights, 0, bytes);
    assert!(flights.room(SLOTS.large_bytes + 1).unwrap().is_none());
    let (token, _) = device.end(&mut flights, Ok(100));
    assert!(flights.release(token).made_room);
    assert!(flights.room(SLOTS.large_bytes + 1).unwrap().is_some());
}

#[test]
fn a_read_in_flight_is_found_by_rows_that_it_brings_whole() {
    let arena = Arena::new(SLOTS).unwrap();
    let device = Device::default();
    let mut flights = Flights::new(&arena, 512, Box::new(device.clone()));
    begin(&mut flights, 4096, 1024);
    let planned = |offset, bytes| new_read(1, offset, bytes, Target::Small).planned;
    let token = flights.find(0, planned(4608, 512)).unwrap();
    assert_eq!(flights.find(0, planned(4096, 1024)), Some(token));
    assert_eq!(flights.find(0, planned(4608, 1024)), None);
    assert_eq!(flights.find(0, planned(3584, 1024)), None);
    assert_eq!(flights.find(1, planned(4608, 512)), None);
    flights.share(token, new_read(1, 4608, 512, Target::Small).rows);
    assert!(flights.get(token).is_worth_retries());
    let (ended, _) = device.end(&mut flights, Ok(1024));
    let released = flights.release(ended);
    assert_eq!((ended, released.waiters.len()), (token, 1));
    assert_eq!(flights.find(0, planned(4608, 512)), None);
    let retry = NewRead {
        is_retry: true,
        ..new_read(0, 4096, 512, Target::Small)
    };
    flights.acquire(retry);
    assert_eq!(flights.find(0, planned(4096, 512)), None);
    let (retried, _) = device.end(&mut flights, Err(libc::EIO));
    assert!(!flights.get(retried).is_worth_retries());
    flights.release(retried);
}
