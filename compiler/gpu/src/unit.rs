//! A program made ready for a device, whole or the body of a step: what follows from it before anything is bound.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use align_compiler::kernel::plan::{self, Layout, Lives};
use align_compiler::kernel::{Buffer, BufferKind, Program, Step};
use align_compiler::tensor::{DType, Lengths};

use crate::pipeline::Pipeline;
use crate::shader::{self, Bound, Context, Form, Kernel, Site, Variant, Words};
use crate::tune::Tuned;

/// Places in memory begin at multiples of this: no adapter asks for more.
pub const ALIGN: usize = 256;

/// What a unit must know of the device.
#[derive(Clone, Copy, Debug)]
pub struct On {
    /// It has numbers of 16 bits.
    pub halves: bool,
    /// Bytes of a piece of the memory for temporaries: no tensor lies in two of them.
    pub page: usize,
    /// Candidates may run in place of the variants that are likely to be fast.
    pub tunes: bool,
}

/// Where memory of a step lies, behind the temporaries of its program.
pub struct Beside {
    /// Places and sizes of what its dispatches hand on, or of what goes from round to round of its body, one side after the other.
    pub pieces: Vec<(usize, usize)>,
    /// Where temporaries of its body begin.
    pub body: usize,
    end: usize,
}

/// A program with its bodies.
pub struct Unit {
    pub program: Program,
    /// The number of its first step: steps are counted over the program and all its bodies.
    pub first: usize,
    pub device: On,
    lives: Lives,
    /// For steps that have one.
    pub bodies: Vec<Option<Unit>>,
    /// The numbers of constant buffers as words.
    pub constants: Vec<Option<Vec<u32>>>,
    scratch: RefCell<HashMap<(usize, Variant), Rc<Vec<Words>>>>,
    /// Steps as pipelines, by how their own buffers are bound.
    pub ready: RefCell<HashMap<(usize, Variant, Vec<Bound>), Rc<Ready>>>,
    /// What is known by how all buffers are bound: few ways come up.
    ways: RefCell<Vec<Rc<Way>>>,
    placed: RefCell<Vec<Rc<Placed>>>,
    /// Bytes of a body's temporaries, by lengths.
    inside: RefCell<Vec<(Lengths, usize)>>,
    /// Where memory of steps ends for the last lengths, behind so many bytes of temporaries.
    most: RefCell<Option<(Lengths, usize, usize)>>,
}

/// A step's kernels.
pub struct Ready {
    pub kernels: Vec<(Kernel, Arc<Pipeline>)>,
    /// What its dispatches hand on.
    pub scratch: Vec<Words>,
    /// The number of its first fault.
    pub fault: usize,
}

/// One way in which the buffers of a program are bound.
pub struct Way {
    pub bound: Vec<Bound>,
    pub steps: RefCell<Vec<Known>>,
}

/// What is known of a step.
#[derive(Clone, Default)]
pub struct Known {
    pub ready: Vec<(Variant, Rc<Ready>)>,
    pub tuned: Tuned,
}

/// Where temporaries lie.
pub struct Placed {
    lengths: Lengths,
    kept: Vec<bool>,
    pub layout: Layout,
    /// Room for each buffer.
    pub bytes: Vec<usize>,
}

/// A layout may have one part in so many more than the lengths at hand need.
const MORE: usize = 16;
/// Layouts that are kept.
const LAYOUTS: usize = 4;
/// Ways of binding that are kept.
const WAYS: usize = 16;

/// Where a fault may be found: the step's name, the buffer's, and what it is.
pub struct Fault {
    pub step: String,
    pub buffer: String,
    pub site: Site,
}

/// Bytes of so many entries of a buffer of the program's own in the memory of a device without numbers of 16 bits.
fn bytes(buffer: &Buffer, entries: usize) -> usize {
    Form::written(buffer.dtype, buffer.storage, false).bytes(entries)
}

/// As [`bytes`], of a device that has them.
fn bytes_with_halves(buffer: &Buffer, entries: usize) -> usize {
    Form::written(buffer.dtype, buffer.storage, true).bytes(entries)
}

impl Unit {
    pub fn new(program: &Program, device: On) -> Unit {
        Unit::numbered(program, device, &mut 0)
    }

    /// `steps`: how many steps have a number.
    fn numbered(program: &Program, device: On, steps: &mut usize) -> Unit {
        let first = *steps;
        // No two units have the same first number.
        *steps += program.steps.len().max(1);
        let body = |step: &Step| match step {
            Step::Chunked(c) => Some(Unit::numbered(&c.body, device, steps)),
            Step::Scan(s) => Some(Unit::numbered(&s.body, device, steps)),
            Step::Loop(l) => Some(Unit::numbered(&l.body, device, steps)),
            _ => None,
        };
        let constants = program.buffers.iter().map(|buffer| match &buffer.kind {
            BufferKind::Const(values) => Some(words(values, buffer.dtype)),
            _ => None,
        });
        Unit {
            lives: Lives::of(
                program,
                plan::Form {
                    align: ALIGN,
                    page: device.page,
                    bytes: if device.halves { bytes_with_halves } else { bytes },
                },
            ),
            device,
            bodies: program.steps.iter().map(body).collect(),
            constants: constants.collect(),
            first,
            program: program.clone(),
            scratch: RefCell::default(),
            ready: RefCell::default(),
            ways: RefCell::default(),
            placed: RefCell::default(),
            inside: RefCell::default(),
            most: RefCell::default(),
        }
    }

    /// How many numbers its steps have, those of bodies included.
    pub fn count(&self) -> usize {
        self.bodies.len().max(1) + self.bodies.iter().flatten().map(Unit::count).sum::<usize>()
    }

    /// How a buffer that the program writes lies in memory.
    pub fn form(&self, buffer: &Buffer) -> Form {
        Form::written(buffer.dtype, buffer.storage, self.device.halves)
    }

    /// How a buffer that the caller gives does.
    pub fn given(&self, buffer: &Buffer) -> Form {
        Form::given(buffer.dtype, buffer.storage, self.device.halves)
    }

    /// What is known where buffers are bound like this.
    pub fn way<'s>(&self, bound: impl Iterator<Item = &'s Bound> + Clone) -> Rc<Way> {
        let mut ways = self.ways.borrow_mut();
        if let Some(way) = ways.iter().find(|way| way.bound.iter().eq(bound.clone())) {
            return way.clone();
        }
        let steps = RefCell::new(vec![Known::default(); self.program.steps.len()]);
        let way = Rc::new(Way { bound: bound.copied().collect(), steps });
        if ways.len() == WAYS {
            ways.remove(0);
        }
        ways.push(way.clone());
        way
    }

    /// Where temporaries lie, and outputs that are not kept. They lie where they lay in the last run if there is room, so that
    /// what was bound then can be bound again.
    pub fn placed(&self, lengths: &Lengths, kept: &[bool]) -> Rc<Placed> {
        let room = |i: usize, buffer: &Buffer| match buffer.kind {
            BufferKind::Temp | BufferKind::Output(_) => self.form(buffer).bytes(self.lives.entries(i, lengths)),
            _ => 0,
        };
        // A body's memory is planned for the lengths at hand alone.
        let fits = |placed: &Placed| {
            let mut buffers = self.program.buffers.iter().enumerate();
            self.first == 0 && buffers.all(|(i, buffer)| room(i, buffer) <= placed.bytes[i])
        };
        let mut all = self.placed.borrow_mut();
        let known = all.iter().rev().find(|p| p.kept == kept && (p.lengths == *lengths || fits(p)));
        if let Some(placed) = known {
            return placed.clone();
        }
        let mut layout = self.lives.place(&self.program, lengths, |i| kept[i]);
        let mut bytes: Vec<usize> = self.program.buffers.iter().enumerate().map(|(i, b)| room(i, b)).collect();
        // Room for what was larger in the last run too, where that takes little more.
        if let Some(last) = all.iter().rev().find(|p| self.first == 0 && p.kept == kept) {
            let both: Vec<usize> = bytes.iter().zip(&last.bytes).map(|(now, then)| *now.max(then)).collect();
            let wider = self.lives.place_sizes(&self.program, |i| both[i], |i| kept[i]);
            if wider.bytes <= layout.bytes + layout.bytes / MORE {
                (layout, bytes) = (wider, both);
            }
        }
        let placed = Rc::new(Placed { lengths: lengths.clone(), kept: kept.to_vec(), layout, bytes });
        if all.len() == LAYOUTS {
            all.remove(0);
        }
        all.push(placed.clone());
        placed
    }

    /// Bytes of each piece of memory that a step's dispatches hand on.
    fn scratch(&self, step: usize, variant: Variant, lengths: &Lengths) -> Vec<usize> {
        let mut known = self.scratch.borrow_mut();
        let words = known.entry((step, variant)).or_insert_with(|| {
            let bound: Vec<Bound> = self.program.buffers.iter().map(|b| Bound::plain(self.form(b))).collect();
            let context = Context { program: &self.program, bound: &bound };
            let kernels = shader::kernels(context, &self.program.steps[step], variant);
            Rc::new(kernels.map(|k| k.scratch).unwrap_or_default())
        });
        words.iter().map(|words| words.bytes(lengths)).collect()
    }

    /// Bytes of temporaries when all outputs are kept, with those of bodies.
    pub fn memory(&self, lengths: &Lengths) -> usize {
        let own = self.lives.place_all(&self.program, lengths).bytes;
        self.memory_beside(own, lengths)
    }

    /// `own` bytes, and behind them the most that a step needs beside.
    pub fn memory_beside(&self, own: usize, lengths: &Lengths) -> usize {
        let own = own.next_multiple_of(ALIGN);
        let mut last = self.most.borrow_mut();
        match &*last {
            Some((of, at, end)) if *at == own && of == lengths => *end,
            _ => {
                let end = (0..self.program.steps.len()).map(|i| self.end(i, own, lengths)).max().unwrap_or(own);
                *last = Some((lengths.clone(), own, end));
                end
            }
        }
    }

    /// Where memory of a step ends that begins at `at`, whichever variant runs.
    fn end(&self, i: usize, at: usize, lengths: &Lengths) -> usize {
        let step = &self.program.steps[i];
        let variants = match self.device.tunes {
            true => shader::candidates(step, lengths),
            false => vec![shader::variant(step, lengths)],
        };
        let most = variants.into_iter().filter(|variant| variant.may_hand_on());
        most.map(|variant| self.beside(i, at, variant, lengths).end).max().unwrap_or(at)
    }

    /// Where memory of a step lies, from `at` on.
    pub fn beside(&self, i: usize, at: usize, variant: Variant, lengths: &Lengths) -> Beside {
        let step = &self.program.steps[i];
        let sizes = match &self.bodies[i] {
            Some(_) => self.carried(step, lengths).repeat(2),
            None => self.scratch(i, variant, lengths),
        };
        let (pieces, end) = self.pieces(at, sizes.into_iter());
        let Some(body) = &self.bodies[i] else { return Beside { pieces, body: end, end } };
        let need = inner_lengths(step, lengths).iter().map(|lengths| body.memory_inside(lengths)).max().unwrap_or(0);
        let body = plan::fit(end, need, self.device.page);
        Beside { pieces, body, end: body + need }
    }

    /// Where pieces of these sizes lie from `at` on, each with its size, and where they end.
    pub fn pieces(&self, at: usize, sizes: impl Iterator<Item = usize>) -> (Vec<(usize, usize)>, usize) {
        let mut end = at;
        let mut pieces = vec![];
        for bytes in sizes {
            let place = plan::fit(end, bytes, self.device.page);
            pieces.push((place, bytes));
            end = place + bytes;
        }
        (pieces, end)
    }

    /// As [`Unit::memory`], of a body: what it gives may not be kept.
    fn memory_inside(&self, lengths: &Lengths) -> usize {
        /// Lengths that runs come back to: those of a block, and of what is left.
        const KNOWN: usize = 8;
        if let Some((_, bytes)) = self.inside.borrow().iter().find(|(of, _)| of == lengths) {
            return *bytes;
        }
        let of = |kept: bool| self.lives.place(&self.program, lengths, |_| kept).bytes;
        let bytes = self.memory_beside(of(true).max(of(false)), lengths);
        let mut known = self.inside.borrow_mut();
        if known.len() == KNOWN {
            known.remove(0);
        }
        known.push((lengths.clone(), bytes));
        bytes
    }

    /// Bytes of each value that goes from round to round.
    fn carried(&self, step: &Step, lengths: &Lengths) -> Vec<usize> {
        let carries = match step {
            Step::Scan(s) => &s.carries[..],
            Step::Loop(l) => &l.carries[..],
            _ => &[],
        };
        let bytes = |c: &align_compiler::kernel::Carry| {
            let first = self.program.buffer(c.first);
            self.form(first).bytes(first.size().get(lengths))
        };
        carries.iter().map(bytes).map(|b| b.next_multiple_of(ALIGN)).collect()
    }
}

impl Words {
    /// Bytes of a place for them.
    pub fn bytes(&self, lengths: &Lengths) -> usize {
        (4 * self.get(lengths)).next_multiple_of(ALIGN)
    }
}

/// The lengths with which a body runs.
fn inner_lengths(step: &Step, lengths: &Lengths) -> Vec<Lengths> {
    match step {
        Step::Chunked(c) => {
            let count = lengths.size(&c.axis);
            let of = |size: usize| lengths.clone().with(c.axis.clone(), vec![size]);
            [count.min(c.block), count % c.block].into_iter().filter(|size| *size > 0).map(of).collect()
        }
        _ => vec![lengths.clone()],
    }
}

/// Numbers as a device holds them.
fn words(values: &[f64], dtype: DType) -> Vec<u32> {
    let word = |x: &f64| match dtype {
        DType::Float => (*x as f32).to_bits(),
        DType::Int => *x as i32 as u32,
        DType::Bool => u32::from(*x != 0.0),
    };
    values.iter().map(word).collect()
}
