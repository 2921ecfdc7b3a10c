//! The windows at work, those that wait, and the one that comes next: the rules alone, without lock
//! or clock.
//!
//! Invariants: the windows at work never exceed the limits; within a class the first to wait is the
//! first to be let in, and no later window passes it, however little it needs; urgent windows go
//! before bulk ones, but for a share; the window whose turn it is comes in once it fits.

use std::collections::VecDeque;

use serde::Serialize;

use super::LatencyClass;

/// The amount of each limited resource that a window needs, or that is free, used or allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Need {
    /// Windows of takes, or pieces of code for a shard.
    pub(crate) windows: u64,
    /// Rows times column groups.
    pub(crate) reads: u64,
    /// Bytes of entries, of reads and of the window's part of the output.
    pub(crate) bytes: u64,
}

impl Need {
    fn fits(self, within: Need) -> bool {
        self.windows <= within.windows && self.reads <= within.reads && self.bytes <= within.bytes
    }

    fn plus(self, other: Need) -> Need {
        Need {
            windows: self.windows + other.windows,
            reads: self.reads + other.reads,
            bytes: self.bytes + other.bytes,
        }
    }

    fn minus(self, other: Need) -> Need {
        Need {
            windows: self.windows - other.windows,
            reads: self.reads - other.reads,
            bytes: self.bytes - other.bytes,
        }
    }

    /// One of `parts` parts, at least one of each.
    pub(crate) fn share_of(self, parts: u64) -> Need {
        Need {
            windows: (self.windows / parts).max(1),
            reads: (self.reads / parts).max(1),
            bytes: (self.bytes / parts).max(1),
        }
    }

    pub(super) fn at_most(self, limit: Need) -> Need {
        Need {
            windows: self.windows.min(limit.windows),
            reads: self.reads.min(limit.reads),
            bytes: self.bytes.min(limit.bytes),
        }
    }
}

/// Counts of the windows of one class in admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ClassStats {
    /// Windows that had to wait.
    pub queued: u64,
    /// Windows let in, at once or after a wait.
    pub dispatched: u64,
    /// Windows let in whose work has ended, however it did.
    pub completed: u64,
    /// Windows whose take was dropped while they waited.
    pub cancelled: u64,
    /// Windows whose deadline had passed before they were let in, and windows that were let in with
    /// too little time left, which count as dispatched and completed too.
    pub expired: u64,
    /// Takes refused since there was no permit.
    pub refused: u64,
}

impl std::ops::Add for ClassStats {
    type Output = ClassStats;

    fn add(self, other: ClassStats) -> ClassStats {
        ClassStats {
            queued: self.queued + other.queued,
            dispatched: self.dispatched + other.dispatched,
            completed: self.completed + other.completed,
            cancelled: self.cancelled + other.cancelled,
            expired: self.expired + other.expired,
            refused: self.refused + other.refused,
        }
    }
}

/// Divisor of each limit: the quotient is the share that bulk work leaves to urgent work.
pub(crate) const URGENT_SHARE: u64 = 8;
/// Urgent windows let in while bulk ones wait, before one of those has its turn.
pub(crate) const URGENT_IN_TURN_MAX: u32 = 16;

/// A place in the queue of a class.
pub(crate) type Ticket = u64;

struct Waiter<W> {
    ticket: Ticket,
    need: Need,
    woken_by: W,
}

/// Windows at work and windows in line, by class. `W` is the waker of a waiter.
pub(crate) struct Ledger<W> {
    limits: Need,
    bulk_limits: Need,
    used: Need,
    bulk_used: Need,
    /// By class, tickets ascending.
    waiting: [VecDeque<Waiter<W>>; LatencyClass::COUNT],
    next_ticket: Ticket,
    urgent_in_turn: u32,
    pub(crate) stats: [ClassStats; LatencyClass::COUNT],
}

impl<W> Ledger<W> {
    pub(crate) fn new(limits: Need) -> Ledger<W> {
        let leave = |limit: u64| (limit - limit.div_ceil(URGENT_SHARE)).max(1);
        Ledger {
            limits,
            bulk_limits: Need {
                windows: leave(limits.windows),
                reads: leave(limits.reads),
                bytes: leave(limits.bytes),
            },
            used: Need::default(),
            bulk_used: Need::default(),
            waiting: [VecDeque::new(), VecDeque::new()],
            next_ticket: 0,
            urgent_in_turn: 0,
            stats: Default::default(),
        }
    }

    /// The most that one window of `class` can be given.
    pub(crate) fn limits(&self, class: LatencyClass) -> Need {
        match class {
            LatencyClass::Urgent => self.limits,
            LatencyClass::Bulk => self.bulk_limits,
        }
    }

    /// The resources in use.
    pub(crate) fn used(&self) -> Need {
        self.used
    }

    /// Nothing is at work.
    #[cfg(test)]
    pub(crate) fn is_whole(&self) -> bool {
        self.used == Need::default() && self.bulk_used == Need::default()
    }

    fn has_room(&self, class: LatencyClass, need: Need) -> bool {
        let bulk_fits = match class {
            LatencyClass::Urgent => true,
            LatencyClass::Bulk => self.bulk_used.plus(need).fits(self.bulk_limits),
        };
        bulk_fits && self.used.plus(need).fits(self.limits)
    }

    /// Whose turn it is among those who wait.
    fn turn(&self) -> Option<LatencyClass> {
        let waits = |class: LatencyClass| !self.waiting[class.index()].is_empty();
        match (waits(LatencyClass::Urgent), waits(LatencyClass::Bulk)) {
            (false, false) => None,
            (true, false) => Some(LatencyClass::Urgent),
            (false, true) => Some(LatencyClass::Bulk),
            (true, true) if self.bulk_is_due() => Some(LatencyClass::Bulk),
            (true, true) => Some(LatencyClass::Urgent),
        }
    }

    /// Whether urgent windows wait for a bulk one: they have had their turn, and it is they, not
    /// other bulk windows, that leave no room.
    fn bulk_is_due(&self) -> bool {
        self.urgent_in_turn >= URGENT_IN_TURN_MAX
            && self.waiting[LatencyClass::Bulk.index()]
                .front()
                .is_some_and(|waiter| self.bulk_used.plus(waiter.need).fits(self.bulk_limits))
    }

    /// Whether a newcomer of `class` may go in without passing a waiter whose turn it is.
    fn may_pass(&self, class: LatencyClass) -> bool {
        match class {
            LatencyClass::Bulk => self.turn().is_none(),
            LatencyClass::Urgent => self.waiting[class.index()].is_empty() && !self.bulk_is_due(),
        }
    }

    fn let_in(&mut self, class: LatencyClass, need: Need) {
        self.used = self.used.plus(need);
        match class {
            LatencyClass::Bulk => {
                self.bulk_used = self.bulk_used.plus(need);
                self.urgent_in_turn = 0;
            }
            LatencyClass::Urgent if self.waiting[LatencyClass::Bulk.index()].is_empty() => {
                self.urgent_in_turn = 0;
            }
            LatencyClass::Urgent => self.urgent_in_turn += 1,
        }
        self.stats[class.index()].dispatched += 1;
    }

    /// Lets a newcomer in if there is room and no waiter is passed. A need beyond the limits is
    /// cut to the limits, which lets it in alone. Returns the permitted need.
    pub(crate) fn try_admit(&mut self, class: LatencyClass, need: Need) -> Option<Need> {
        let need = need.at_most(self.limits(class));
        if !self.may_pass(class) || !self.has_room(class, need) {
            return None;
        }
        self.let_in(class, need);
        Some(need)
    }

    /// Queues a newcomer that was not let in.
    pub(crate) fn wait(&mut self, class: LatencyClass, need: Need, woken_by: W) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting[class.index()].push_back(Waiter {
            ticket,
            need: need.at_most(self.limits(class)),
            woken_by,
        });
        self.stats[class.index()].queued += 1;
        ticket
    }

    fn place(&self, class: LatencyClass, ticket: Ticket) -> Option<usize> {
        self.waiting[class.index()]
            .binary_search_by_key(&ticket, |waiter| waiter.ticket)
            .ok()
    }

    /// The waker of the holder of `ticket`; `None` once it has been let in.
    pub(crate) fn waiter(&mut self, class: LatencyClass, ticket: Ticket) -> Option<&mut W> {
        let place = self.place(class, ticket)?;
        Some(&mut self.waiting[class.index()][place].woken_by)
    }

    /// Gives a place up and returns the waker of its holder. If there is no place, the holder has
    /// been let in and has to release its permit. Others may fit now.
    pub(crate) fn leave(&mut self, class: LatencyClass, ticket: Ticket) -> Option<W> {
        let place = self.place(class, ticket)?;
        Some(self.waiting[class.index()].remove(place)?.woken_by)
    }

    /// Takes back what was given. Others may fit now.
    pub(crate) fn release(&mut self, class: LatencyClass, given: Need) {
        self.used = self.used.minus(given);
        if class == LatencyClass::Bulk {
            self.bulk_used = self.bulk_used.minus(given);
        }
        self.stats[class.index()].completed += 1;
    }

    /// Lets the next waiter in, if it fits.
    pub(crate) fn admit_next(&mut self) -> Option<W> {
        let class = self.turn()?;
        let need = self.waiting[class.index()].front()?.need;
        if !self.has_room(class, need) {
            return None;
        }
        let waiter = self.waiting[class.index()].pop_front()?;
        self.let_in(class, need);
        Some(waiter.woken_by)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Need = Need {
        windows: 6,
        reads: 40,
        bytes: 100,
    };

    #[derive(Debug, Clone)]
    enum Step {
        Ask(LatencyClass, Need),
        Leave(usize),
        Release(usize),
    }

    fn need() -> impl Strategy<Value = Need> {
        // Some of them beyond all limits.
        (0..60_u64, 0..150_u64).prop_map(|(reads, bytes)| Need {
            windows: 1,
            reads,
            bytes,
        })
    }

    fn class() -> impl Strategy<Value = LatencyClass> {
        prop_oneof![Just(LatencyClass::Urgent), Just(LatencyClass::Bulk)]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (class(), need()).prop_map(|(class, need)| Step::Ask(class, need)),
            1 => (0..20_usize).prop_map(Step::Leave),
            2 => (0..20_usize).prop_map(Step::Release),
        ]
    }

    #[derive(Debug, Clone, Copy)]
    struct Asked {
        class: LatencyClass,
        given: Need,
        number: usize,
        ticket: Ticket,
    }

    /// Everything in lists, in the order of asking, and summed anew each time.
    #[derive(Default)]
    struct Model {
        at_work: Vec<Asked>,
        waiting: Vec<Asked>,
        /// Urgent ones let in while a bulk one waited that its own limits had room for.
        urgent_in_turn: u32,
    }

    impl Model {
        fn sum(&self, only: Option<LatencyClass>) -> Need {
            self.at_work
                .iter()
                .filter(|asked| only.is_none_or(|only| asked.class == only))
                .fold(Need::default(), |sum, asked| sum.plus(asked.given))
        }

        fn first(&self, class: LatencyClass) -> Option<&Asked> {
            self.waiting.iter().find(|asked| asked.class == class)
        }

        fn fits(&self, ledger: &Ledger<usize>, asked: &Asked) -> bool {
            let own = ledger.limits(asked.class);
            let own_sum = match asked.class {
                LatencyClass::Urgent => self.sum(None),
                LatencyClass::Bulk => self.sum(Some(LatencyClass::Bulk)),
            };
            own_sum.plus(asked.given).fits(own) && self.sum(None).plus(asked.given).fits(LIMITS)
        }

        fn bulk_is_kept_waiting(&self, ledger: &Ledger<usize>) -> bool {
            self.first(LatencyClass::Bulk).is_some_and(|bulk| {
                let own = self.sum(Some(LatencyClass::Bulk)).plus(bulk.given);
                own.fits(ledger.limits(LatencyClass::Bulk))
            })
        }

        fn let_in(&mut self, ledger: &Ledger<usize>, asked: Asked) {
            match asked.class {
                LatencyClass::Urgent if self.bulk_is_kept_waiting(ledger) => {
                    self.urgent_in_turn += 1;
                }
                _ => self.urgent_in_turn = 0,
            }
            self.at_work.push(asked);
        }

        fn check(&self, ledger: &Ledger<usize>) {
            assert!(self.sum(None).fits(LIMITS));
            let bulk = self.sum(Some(LatencyClass::Bulk));
            assert!(bulk.fits(ledger.limits(LatencyClass::Bulk)));
            assert!(self.urgent_in_turn <= URGENT_IN_TURN_MAX);
            let first_urgent = self.first(LatencyClass::Urgent);
            if let Some(urgent) = first_urgent
                && ledger.urgent_in_turn < URGENT_IN_TURN_MAX
            {
                assert!(!self.fits(ledger, urgent), "{urgent:?} could be let in");
            }
            if let Some(bulk) = self.first(LatencyClass::Bulk)
                && first_urgent.is_none()
            {
                assert!(!self.fits(ledger, bulk), "{bulk:?} could be let in");
            }
        }

        /// Moves those whom the ledger lets in, each of which must be the first of its class.
        fn settle(&mut self, ledger: &mut Ledger<usize>) {
            while let Some(number) = ledger.admit_next() {
                let place = self
                    .waiting
                    .iter()
                    .position(|asked| asked.number == number)
                    .unwrap();
                let class = self.waiting[place].class;
                assert_eq!(self.first(class).unwrap().number, number, "passed a waiter");
                let asked = self.waiting[place];
                self.let_in_waiting(ledger, place, asked);
            }
        }

        fn let_in_waiting(&mut self, ledger: &Ledger<usize>, place: usize, asked: Asked) {
            assert!(self.fits(ledger, &asked));
            self.waiting.remove(place);
            self.let_in(ledger, asked);
        }
    }

    fn run(steps: Vec<Step>) {
        let mut ledger = Ledger::new(LIMITS);
        let mut model = Model::default();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Ask(class, need) => {
                    let mut asked = Asked {
                        class,
                        given: need.at_most(ledger.limits(class)),
                        number,
                        ticket: 0,
                    };
                    if let Some(given) = ledger.try_admit(class, need) {
                        assert_eq!(given, asked.given);
                        assert!(model.first(class).is_none(), "passed a waiter");
                        model.let_in(&ledger, asked);
                    } else {
                        asked.ticket = ledger.wait(class, need, number);
                        model.waiting.push(asked);
                    }
                }
                Step::Leave(place) if !model.waiting.is_empty() => {
                    let left = model.waiting.remove(place % model.waiting.len());
                    assert!(ledger.leave(left.class, left.ticket).is_some());
                    assert!(ledger.leave(left.class, left.ticket).is_none());
                }
                Step::Release(place) if !model.at_work.is_empty() => {
                    let done = model.at_work.swap_remove(place % model.at_work.len());
                    ledger.release(done.class, done.given);
                }
                _ => {}
            }
            model.settle(&mut ledger);
            model.check(&ledger);
        }
        // The waiters are let in as the others end, and all is given back.
        while let Some(done) = model.at_work.pop() {
            ledger.release(done.class, done.given);
            model.settle(&mut ledger);
            model.check(&ledger);
        }
        assert!(model.waiting.is_empty());
        assert!(ledger.is_whole());
    }

    proptest! {
        #[test]
        fn admission_keeps_to_its_limits_and_order_whatever_is_asked(
            steps in proptest::collection::vec(step(), 1..200),
        ) {
            run(steps);
        }
    }

    #[test]
    fn bulk_windows_get_their_share_of_a_store_full_of_urgent_ones() {
        let mut ledger = Ledger::new(Need {
            windows: 1,
            ..LIMITS
        });
        let one = Need {
            windows: 1,
            ..Need::default()
        };
        ledger.try_admit(LatencyClass::Urgent, one).unwrap();
        ledger.wait(LatencyClass::Bulk, one, LatencyClass::Bulk);
        for _ in 0..2 * URGENT_IN_TURN_MAX {
            ledger.wait(LatencyClass::Urgent, one, LatencyClass::Urgent);
        }
        let mut last = LatencyClass::Urgent;
        let order: Vec<LatencyClass> = std::iter::from_fn(|| {
            ledger.release(last, one);
            last = ledger.admit_next()?;
            Some(last)
        })
        .take(2 * URGENT_IN_TURN_MAX as usize)
        .collect();
        let urgent_before = order.iter().position(|&class| class == LatencyClass::Bulk);
        assert_eq!(urgent_before, Some(URGENT_IN_TURN_MAX as usize));
    }
}
