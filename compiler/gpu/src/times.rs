//! Times of dispatches, where they are asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use align_compiler::kernel::{Fault, Work};

use crate::device::Device;
use crate::record::Dispatch;

/// How kernels are timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// By the device between any two dispatches of a pass.
    Inside,
    /// By the device at the ends of passes: each dispatch has one of its own.
    Passes,
    /// By the host, which waits for each step.
    Waits,
}

/// Dispatches of a pass that is timed: sets of queries have at most 4,096.
pub const MOST_TIMED: usize = 2048;
/// Bytes of a time.
const EACH: u64 = 8;

/// A step that runs.
pub struct Turn {
    /// Its number ([`crate::unit::Unit::first`]).
    pub step: usize,
    pub work: Work,
    /// When its first dispatch began, and how long all of them took.
    pub ran: Option<(Instant, Duration)>,
}

/// What a run takes.
pub struct Clock {
    start: Instant,
    timing: Timing,
    pub turns: Vec<Turn>,
    /// Whether what is dispatched is the last turn's.
    in_turn: bool,
    asked: Vec<Asked>,
    /// What is no encoding: the host waited, or counted.
    aside: Duration,
}

/// Times that the device writes.
struct Asked {
    sent: Instant,
    /// The turn of each dispatch.
    turns: Vec<Option<usize>>,
    seen: Arc<wgpu::Buffer>,
}

impl Timing {
    /// The way that costs least.
    pub fn of(features: wgpu::Features) -> Timing {
        match () {
            () if !features.contains(wgpu::Features::TIMESTAMP_QUERY) => Timing::Waits,
            () if features.contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES) => Timing::Inside,
            () => Timing::Passes,
        }
    }

    /// Where the times are at which a dispatch begins and ends.
    fn ends(self, dispatch: usize) -> [usize; 2] {
        match self {
            Timing::Inside => [dispatch, dispatch + 1],
            Timing::Passes | Timing::Waits => [2 * dispatch, 2 * dispatch + 1],
        }
    }

    /// Records dispatches with times around each; gives where the host sees these once they have run.
    pub fn record(
        self,
        device: &Device,
        encoder: &mut wgpu::CommandEncoder,
        dispatches: &[Dispatch],
    ) -> Result<Arc<wgpu::Buffer>, Fault> {
        let count = self.ends(dispatches.len() - 1)[1] + 1;
        let bytes = EACH * count as u64;
        let set = device.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: count as u32,
        });
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let written = device.buffer("times", bytes, usage)?;
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let seen = device.buffer("times", bytes, usage)?;
        let at = |dispatch: usize| self.ends(dispatch).map(|end| end as u32);
        match self {
            Timing::Inside => {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                pass.write_timestamp(&set, 0);
                for (i, dispatch) in dispatches.iter().enumerate() {
                    dispatch.record(&mut pass);
                    pass.write_timestamp(&set, at(i)[1]);
                }
            }
            Timing::Passes | Timing::Waits => {
                for (i, dispatch) in dispatches.iter().enumerate() {
                    let [begin, end] = at(i);
                    let times = wgpu::ComputePassTimestampWrites {
                        query_set: &set,
                        beginning_of_pass_write_index: Some(begin),
                        end_of_pass_write_index: Some(end),
                    };
                    let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes: Some(times) };
                    dispatch.record(&mut encoder.begin_compute_pass(&descriptor));
                }
            }
        }
        encoder.resolve_query_set(&set, 0..count as u32, &written, 0);
        encoder.copy_buffer_to_buffer(&written, 0, &seen, 0, bytes);
        Ok(seen)
    }

    /// Reads what [`Timing::record`] gave, of so many dispatches: for each when it began, counted from the first, and how
    /// long it took. The device is done with them.
    pub fn read(
        self,
        device: &Device,
        seen: &wgpu::Buffer,
        dispatches: usize,
    ) -> Result<Vec<(Duration, Duration)>, Fault> {
        let bytes = EACH * (self.ends(dispatches - 1)[1] + 1) as u64;
        let times: Vec<u64> = bytemuck::pod_collect_to_vec(&device.mapped(seen, bytes, |bytes| bytes.to_vec())?);
        let period = f64::from(device.queue.get_timestamp_period());
        let between = |a: u64, b: u64| Duration::from_nanos((b.saturating_sub(a) as f64 * period) as u64);
        let of = |i: usize| {
            let [begin, end] = self.ends(i).map(|end| times[end]);
            (between(times[0], begin), between(begin, end))
        };
        Ok((0..dispatches).map(of).collect())
    }
}

impl Clock {
    /// A run begins.
    pub fn new(device: &Device) -> Clock {
        let (start, timing) = (Instant::now(), device.timing);
        Clock { start, timing, turns: vec![], in_turn: false, asked: vec![], aside: Duration::ZERO }
    }

    /// A step begins.
    pub fn begin(&mut self, of: impl FnOnce() -> (usize, Work)) {
        let start = Instant::now();
        let (step, work) = of();
        self.turns.push(Turn { step, work, ran: None });
        self.in_turn = true;
        self.aside += start.elapsed();
    }

    /// It has dispatched all that it does. Whether the host must now wait for it.
    pub fn end(&mut self) -> bool {
        std::mem::take(&mut self.in_turn) && self.timing == Timing::Waits
    }

    /// The turn whose dispatches are recorded.
    pub fn turn(&self) -> Option<usize> {
        self.in_turn.then(|| self.turns.len() - 1)
    }

    /// The host waited since then.
    pub fn waited(&mut self, since: Instant) {
        self.aside += since.elapsed();
    }

    /// The last turn ran from then until now, and the host did nothing else.
    pub fn ran(&mut self, since: Instant) {
        let took = since.elapsed();
        self.aside += took;
        if let Some(turn) = self.turns.last_mut() {
            turn.ran = Some((since, took));
        }
    }

    /// Records dispatches on their way to the device.
    pub fn record(
        &mut self,
        device: &Device,
        encoder: &mut wgpu::CommandEncoder,
        dispatches: &[Dispatch],
    ) -> Result<(), Fault> {
        for some in dispatches.chunks(MOST_TIMED) {
            if self.timing == Timing::Waits {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                some.iter().for_each(|dispatch| dispatch.record(&mut pass));
                continue;
            }
            let start = Instant::now();
            let seen = self.timing.record(device, encoder, some)?;
            let sent = Instant::now();
            // Most of it are queries, which no other run has.
            self.aside += sent - start;
            self.asked.push(Asked { sent, turns: some.iter().map(|d| d.turn).collect(), seen });
        }
        Ok(())
    }

    /// The run is over, and the device done: when it began and what the host did in it beside waiting, and the turns with
    /// their times.
    pub fn finish(mut self, device: &Device) -> Result<((Instant, Duration), Vec<Turn>), Fault> {
        let host = self.start.elapsed().saturating_sub(self.aside);
        for Asked { sent, turns, seen } in &self.asked {
            for (turn, (after, took)) in turns.iter().zip(self.timing.read(device, seen, turns.len())?) {
                let Some(turn) = turn else { continue };
                let ran = &mut self.turns[*turn].ran;
                *ran = Some(ran.map_or((*sent + after, took), |(start, all)| (start, all + took)));
            }
        }
        Ok(((self.start, host), self.turns))
    }
}
