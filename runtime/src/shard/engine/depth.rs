//! How many reads a shard keeps in flight: as many as make the drive faster, and no more.
//!
//! Beyond the knee of a drive's curve, more reads in flight wait longer and finish no sooner
//! (Little's law: reads in flight = rate × time in flight). The knee is found by trying: for one
//! epoch the shard goes one level deeper or shallower than it is, and compares that epoch's rate
//! with the mean of the epochs before and after it, so that a drive that is drifting misleads
//! neither. A level deeper has to bring [`GAIN_MIN`], a level shallower may cost [`LOSS_MAX`].
//!
//! Only epochs with rows waiting from end to end count, since otherwise the callers set
//! the rate. The clock is read twice per epoch.

use std::time::{Duration, Instant};

use crate::config::DepthControl;

/// The gain in rate that makes a level deeper worth its waits.
const GAIN_MIN: f64 = 0.025;
/// The loss in rate that a level shallower may cost.
const LOSS_MAX: f64 = 0.025;
/// Reads of an epoch, and at least this many times the depth.
const EPOCH_READS_MIN: u64 = 512;
const EPOCH_DEPTHS: u64 = 16;
/// About how long an epoch is at least: drives that are held to a rate serve in bursts, which have
/// to cancel out.
const EPOCH_SECONDS_MIN: f64 = 0.1;
/// The longest time between epochs of one trial.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The queue depth of a shard: fixed, or the smallest that keeps the drive's full rate.
#[derive(Debug)]
pub(super) struct Depth {
    /// Depths, ascending by about a third each; one if there is nothing to control.
    levels: Vec<u32>,
    at: usize,
    /// The trial of the next third of the epochs goes up or down.
    up: bool,
    stage: Stage,
    epoch: Option<Epoch>,
    /// Reads to let pass, which were sent at another depth.
    settling: u64,
    /// Reads per second in the last epoch.
    rate: f64,
    /// When the last epoch ended.
    ended: Option<Instant>,
    /// Rows have not been waiting all the time since.
    paused: bool,
}

/// Where in a trial it is: at its own level, away, or back again.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Before,
    Trial {
        before: f64,
    },
    After {
        before: f64,
        trial: f64,
        level: usize,
    },
}

#[derive(Debug)]
struct Epoch {
    started: Instant,
    reads: u64,
}

impl Depth {
    /// At most `depth_max` reads in flight.
    pub(super) fn new(control: DepthControl, depth_max: u32) -> Depth {
        let mut levels = vec![depth_max];
        if control == DepthControl::Knee {
            levels = std::iter::successors(Some(1_u32), |depth| Some(depth + depth.div_ceil(3)))
                .take_while(|&depth| depth < depth_max)
                .collect();
            levels.push(depth_max);
        }
        Depth {
            // From above: a queue too deep serves all, one too shallow does not.
            at: levels.len() - 1,
            levels,
            up: false,
            stage: Stage::Before,
            epoch: None,
            settling: 0,
            rate: 0.0,
            ended: None,
            paused: false,
        }
    }

    fn level(&self) -> usize {
        match self.stage {
            Stage::Trial { .. } => self.trial_level(),
            Stage::Before | Stage::After { .. } => self.at,
        }
    }

    fn trial_level(&self) -> usize {
        if self.up {
            (self.at + 1).min(self.levels.len() - 1)
        } else {
            self.at.saturating_sub(1)
        }
    }

    /// Reads to keep in flight now.
    #[inline]
    pub(super) fn now(&self) -> u32 {
        self.levels[self.level()]
    }

    /// Notes `reads` completions. `saturated` says whether rows have been waiting for a read ever
    /// since the last call.
    pub(super) fn completed(
        &mut self,
        reads: u64,
        saturated: bool,
        clock: impl FnOnce() -> Instant,
    ) {
        if self.levels.len() == 1 {
            return;
        }
        if !saturated {
            self.epoch = None;
            self.paused = true;
            return;
        }
        if self.settling > 0 {
            self.settling = self.settling.saturating_sub(reads);
            return;
        }
        let length = EPOCH_READS_MIN
            .max(EPOCH_DEPTHS * u64::from(self.now()))
            .max((self.rate * EPOCH_SECONDS_MIN) as u64);
        match &mut self.epoch {
            None => {
                let started = clock();
                // A slow drive alone may take that long to settle.
                let paused = std::mem::take(&mut self.paused);
                let since = self.ended.map(|ended| started.duration_since(ended));
                if paused && since.is_some_and(|since| since > PAUSE_MAX) {
                    self.start_over();
                    return;
                }
                self.epoch = Some(Epoch { started, reads: 0 });
            }
            Some(epoch) => {
                epoch.reads += reads;
                if epoch.reads >= length {
                    let ended = clock();
                    let seconds = (ended - epoch.started).as_secs_f64();
                    self.ended = Some(ended);
                    let rate = epoch.reads as f64 / seconds.max(1e-9);
                    self.epoch = None;
                    self.rate = rate;
                    self.next_stage(rate);
                }
            }
        }
    }

    /// Forgets measurements from before a long pause, which say nothing about the time after it.
    fn start_over(&mut self) {
        self.ended = None;
        if matches!(self.stage, Stage::Trial { .. }) {
            self.settling = u64::from(self.now());
        }
        self.stage = Stage::Before;
    }

    fn next_stage(&mut self, rate: f64) {
        let before = self.now();
        self.stage = match self.stage {
            Stage::Before if self.trial_level() == self.at => {
                self.up = !self.up;
                Stage::Before
            }
            Stage::Before => Stage::Trial { before: rate },
            Stage::Trial { before } => Stage::After {
                before,
                trial: rate,
                level: self.trial_level(),
            },
            Stage::After {
                before: first,
                trial,
                level,
            } => {
                let here = (first + rate) / 2.0;
                let moves = if self.up {
                    trial >= here * (1.0 + GAIN_MIN)
                } else {
                    trial >= here * (1.0 - LOSS_MAX)
                };
                if moves {
                    // Further in the same direction.
                    self.at = level;
                } else {
                    self.up = !self.up;
                }
                Stage::Before
            }
        };
        if self.now() != before {
            self.settling = u64::from(before.max(self.now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A drive that serves `channels` reads at once in `base_s` each, with noise.
    struct Drive {
        channels: f64,
        base_s: f64,
        clock: Instant,
        noise: u64,
    }

    impl Drive {
        fn rate(&self, depth: u32) -> f64 {
            // Reads fall on channels at random, so that a deeper queue leaves fewer of them idle.
            let depth = f64::from(depth);
            self.channels / self.base_s * (1.0 - (1.0 - 1.0 / self.channels).powf(depth))
        }

        fn wait(&self, depth: u32) -> f64 {
            f64::from(depth) / self.rate(depth)
        }

        fn run(&mut self, depth: &mut Depth, batches: u32) {
            for _ in 0..batches {
                let batch = u64::from(depth.now().div_ceil(4));
                self.noise = self
                    .noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let noise = 0.9 + 0.2 * (self.noise >> 40) as f64 / (1_u64 << 24) as f64;
                let seconds = batch as f64 / self.rate(depth.now()) * noise;
                self.clock += Duration::from_secs_f64(seconds);
                let now = self.clock;
                depth.completed(batch, true, || now);
            }
        }
    }

    fn drive(channels: f64) -> Drive {
        Drive {
            channels,
            base_s: 100e-6,
            clock: Instant::now(),
            noise: 7,
        }
    }

    fn settled(depth: &Depth) -> u32 {
        depth.levels[depth.at]
    }

    #[test]
    fn the_depth_settles_where_the_rate_is_nearly_the_best() {
        for channels in [1.0, 4.0, 16.0, 40.0] {
            let mut drive = drive(channels);
            let mut depth = Depth::new(DepthControl::Knee, 1024);
            drive.run(&mut depth, 400_000);
            let found = settled(&depth);
            let share = drive.rate(found) / drive.rate(1024);
            assert!(
                share > 0.93,
                "{channels} channels: depth {found}, {share:.3} of the rate"
            );
            // The deepest queue would wait many times as long.
            assert!(
                drive.wait(found) < drive.wait(1024) / 3.0,
                "{channels} channels: depth {found}"
            );
        }
    }

    #[test]
    fn the_depth_follows_a_drive_that_changes() {
        let mut drive = drive(2.0);
        let mut depth = Depth::new(DepthControl::Knee, 256);
        drive.run(&mut depth, 300_000);
        let shallow = settled(&depth);
        drive.channels = 40.0;
        drive.run(&mut depth, 300_000);
        let deep = settled(&depth);
        drive.channels = 2.0;
        drive.run(&mut depth, 300_000);
        assert!(shallow * 3 < deep, "{shallow} {deep}");
        assert!(settled(&depth) * 3 < deep, "{} {deep}", settled(&depth));
    }

    #[test]
    fn a_fixed_depth_and_callers_who_ask_for_little_change_nothing() {
        let mut fixed = Depth::new(DepthControl::Fixed, 100);
        drive(4.0).run(&mut fixed, 10_000);
        assert_eq!(fixed.now(), 100);
        let mut idle = Depth::new(DepthControl::Knee, 100);
        let clock = Instant::now();
        for _ in 0..100_000 {
            idle.completed(10, false, || clock);
        }
        assert_eq!(idle.now(), 100);
        assert_eq!(Depth::new(DepthControl::Knee, 1).now(), 1);
    }

    #[test]
    fn an_epoch_lasts_until_bursts_of_a_drive_cancel_out() {
        let mut depth = Depth::new(DepthControl::Knee, 64);
        let mut clock = Instant::now();
        let mut epochs = 0;
        // 100,000 reads/s for a second.
        for _ in 0..10_000 {
            clock += Duration::from_micros(100);
            let ended = depth.ended;
            depth.completed(10, true, || clock);
            epochs += u32::from(depth.ended != ended);
        }
        // But for the first, whose rate was not known.
        assert!((8..=12).contains(&epochs), "{epochs}");
    }

    #[test]
    fn a_trial_goes_on_after_a_short_pause_and_starts_over_after_a_long_one() {
        let in_trial = |pause: Duration| {
            let mut depth = Depth::new(DepthControl::Knee, 64);
            let mut clock = Instant::now();
            while !matches!(depth.stage, Stage::Trial { .. }) {
                clock += Duration::from_micros(100);
                depth.completed(10, true, || clock);
            }
            depth.completed(10, false, || clock);
            clock += pause;
            for _ in 0..20 {
                clock += Duration::from_micros(100);
                depth.completed(10, true, || clock);
            }
            matches!(depth.stage, Stage::Trial { .. })
        };
        assert!(in_trial(Duration::from_millis(500)));
        assert!(!in_trial(Duration::from_secs(2)));
    }

    #[test]
    fn a_slow_drive_is_tried_too() {
        let mut depth = Depth::new(DepthControl::Knee, 64);
        let mut clock = Instant::now();
        // 50 reads/s at every depth: one at a time is as good.
        for _ in 0..2_000_000 {
            clock += Duration::from_millis(20);
            depth.completed(1, true, || clock);
        }
        assert_eq!(settled(&depth), 1);
    }
}
