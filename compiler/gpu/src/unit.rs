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

/// Places in memory begin at multiples of this: no adapter asks for more.
pub const ALIGN: usize = 256;

/// What a unit must know of the device.
#[derive(Clone, Copy, Debug)]
pub struct On {
    /// It has numbers of 16 bits.
    pub halves: bool,
    /// Bytes of a piece of the memory for temporaries: no tensor lies in two of them.
    pub page: usize,
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
    device: On,
    lives: Lives,
    /// For steps that have one.
    pub bodies: Vec<Option<Unit>>,
    /// The numbers of constant buffers as words.
    pub constants: Vec<Option<Vec<u32>>>,
    scratch: RefCell<HashMap<(usize, Variant), Rc<Vec<Words>>>>,
    /// Steps as pipelines, by how their buffers are bound.
    pub ready: RefCell<HashMap<(usize, Variant, Vec<Bound>), Rc<Ready>>>,
    placed: RefCell<Option<Rc<Placed>>>,
}

/// A step's kernels.
pub struct Ready {
    pub kernels: Vec<(Kernel, Arc<Pipeline>)>,
    /// The number of its first fault.
    pub fault: usize,
}

/// Where temporaries lie for some lengths.
pub struct Placed {
    lengths: Lengths,
    kept: Vec<bool>,
    pub layout: Layout,
}

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
        *steps += program.steps.len();
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
            placed: RefCell::default(),
        }
    }

    /// How many steps it has, those of bodies included.
    pub fn count(&self) -> usize {
        self.bodies.len() + self.bodies.iter().flatten().map(Unit::count).sum::<usize>()
    }

    /// How a buffer that the program writes lies in memory.
    pub fn form(&self, buffer: &Buffer) -> Form {
        Form::written(buffer.dtype, buffer.storage, self.device.halves)
    }

    /// How a buffer that the caller gives does.
    pub fn given(&self, buffer: &Buffer) -> Form {
        Form::given(buffer.dtype, buffer.storage, self.device.halves)
    }

    /// Where temporaries lie, and outputs that are not kept.
    pub fn placed(&self, lengths: &Lengths, kept: &[bool]) -> Rc<Placed> {
        let mut last = self.placed.borrow_mut();
        if let Some(placed) = &*last
            && placed.lengths == *lengths
            && placed.kept == kept
        {
            return placed.clone();
        }
        let layout = self.lives.place(&self.program, lengths, |i| kept[i]);
        let placed = Rc::new(Placed { lengths: lengths.clone(), kept: kept.to_vec(), layout });
        *last = Some(placed.clone());
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
        words.iter().map(|words| (4 * words.get(lengths)).next_multiple_of(ALIGN)).collect()
    }

    /// Bytes of temporaries when all outputs are kept, with those of bodies.
    pub fn memory(&self, lengths: &Lengths) -> usize {
        let own = self.lives.place(&self.program, lengths, |_| true).bytes;
        self.memory_beside(own, lengths)
    }

    /// `own` bytes, and behind them the most that a step needs beside.
    pub fn memory_beside(&self, own: usize, lengths: &Lengths) -> usize {
        let own = own.next_multiple_of(ALIGN);
        let end = |(i, step): (usize, &Step)| self.beside(i, own, shader::variant(step, lengths), lengths).end;
        self.program.steps.iter().enumerate().map(end).max().unwrap_or(own)
    }

    /// Where memory of a step lies, from `at` on.
    pub fn beside(&self, i: usize, at: usize, variant: Variant, lengths: &Lengths) -> Beside {
        let step = &self.program.steps[i];
        let sizes = match &self.bodies[i] {
            Some(_) => self.carried(step, lengths).repeat(2),
            None => self.scratch(i, variant, lengths),
        };
        let mut end = at;
        let mut pieces = vec![];
        for bytes in sizes {
            let place = plan::fit(end, bytes, self.device.page);
            pieces.push((place, bytes));
            end = place + bytes;
        }
        let Some(body) = &self.bodies[i] else { return Beside { pieces, body: end, end } };
        let need = body.memory_inside(&inner_lengths(step, lengths));
        let body = plan::fit(end, need, self.device.page);
        Beside { pieces, body, end: body + need }
    }

    /// As [`Unit::memory`], of a body: what it gives may not be kept.
    fn memory_inside(&self, lengths: &Lengths) -> usize {
        self.memory_beside(self.lives.place(&self.program, lengths, |_| false).bytes, lengths)
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

/// The lengths of a body that need most memory.
fn inner_lengths(step: &Step, lengths: &Lengths) -> Lengths {
    match step {
        Step::Chunked(c) => {
            let size = lengths.size(&c.axis).min(c.block);
            lengths.clone().with(c.axis.clone(), vec![size])
        }
        _ => lengths.clone(),
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
