//! Where temporaries lie in one piece of memory: two share memory if they are never needed at the same time.

use crate::kernel::ir::{Buffer, BufferKind, Program, Size};
use crate::tensor::Lengths;
use std::sync::{Arc, Mutex, PoisonError};

/// How a device lays temporaries.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// They begin at multiples of so many bytes.
    pub align: usize,
    /// No temporary lies across a multiple of so many bytes: memory is in pieces of this size, itself a multiple of `align`.
    pub page: usize,
    /// The bytes that so many entries of a buffer take.
    pub bytes: fn(&Buffer, usize) -> usize,
}

/// The first place from `at` on at which so many bytes lie in one page; those of more than a page begin one.
pub fn fit(at: usize, bytes: usize, page: usize) -> usize {
    if page == usize::MAX || at % page + bytes <= page || at.is_multiple_of(page) {
        at
    } else {
        at.next_multiple_of(page)
    }
}

/// For each buffer of a program what its place depends on.
pub struct Lives {
    form: Form,
    /// The first and the last step that uses it.
    spans: Vec<Option<(usize, usize)>>,
    /// Its entries.
    sizes: Vec<Size>,
    /// The last layout with all outputs kept, by the bytes that it was made for: who plans with it runs with it, and lengths of
    /// what is only read change nothing.
    last: Mutex<Option<(Vec<usize>, Arc<Layout>)>>,
}

/// Offsets of temporaries for one set of lengths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// For each buffer; 0 where it is not a temporary.
    pub offsets: Vec<usize>,
    pub bytes: usize,
}

impl Lives {
    pub fn of(program: &Program, form: Form) -> Lives {
        let mut spans: Vec<Option<(usize, usize)>> = vec![None; program.buffers.len()];
        for (i, step) in program.steps.iter().enumerate() {
            for (buffer, _) in step.accesses() {
                let life = &mut spans[buffer.0 as usize];
                *life = Some(life.map_or((i, i), |(first, _)| (first, i)));
            }
        }
        let sizes = program.buffers.iter().map(|buffer| buffer.size()).collect();
        Lives { form, spans, sizes, last: Mutex::default() }
    }

    /// The entries of a buffer.
    pub fn entries(&self, buffer: usize, lengths: &Lengths) -> usize {
        self.sizes[buffer].get(lengths)
    }

    /// The bytes of a buffer, up to where the next one may begin.
    fn bytes(&self, program: &Program, buffer: usize, lengths: &Lengths) -> usize {
        (self.form.bytes)(&program.buffers[buffer], self.entries(buffer, lengths)).next_multiple_of(self.form.align)
    }

    /// The temporaries that are there during the step at which they are most, all outputs being kept: their sum is the least
    /// that any layout needs.
    pub fn most(&self, program: &Program, lengths: &Lengths) -> Vec<(usize, usize)> {
        let temporary = |i: &usize| program.buffers[*i].kind == BufferKind::Temp;
        let sizes: Vec<(usize, usize, (usize, usize))> = (0..program.buffers.len())
            .filter(temporary)
            .filter_map(|i| Some((i, self.bytes(program, i, lengths), self.spans[i]?)))
            .collect();
        let during = |step: usize| sizes.iter().filter(move |(.., life)| (life.0..=life.1).contains(&step));
        let sum = |step: &usize| during(*step).map(|(_, bytes, _)| bytes).sum::<usize>();
        let most = (0..program.steps.len()).max_by_key(sum).unwrap_or(0);
        during(most).map(|(i, bytes, _)| (*i, *bytes)).collect()
    }

    /// As [`Lives::place`] where all outputs are kept.
    pub fn place_all(&self, program: &Program, lengths: &Lengths) -> Arc<Layout> {
        let placed = |buffer: &Buffer| matches!(buffer.kind, BufferKind::Temp | BufferKind::Output(_));
        let bytes = |(i, buffer)| if placed(buffer) { self.bytes(program, i, lengths) } else { 0 };
        let sizes: Vec<usize> = program.buffers.iter().enumerate().map(bytes).collect();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((of, layout)) if *of == sizes => layout.clone(),
            _ => {
                let layout = Arc::new(self.place_sizes(program, |i| sizes[i], |_| true));
                *last = Some((sizes, layout.clone()));
                layout
            }
        }
    }

    /// Large ones first, each at the lowest place that is free for its life. An output that the caller does not keep
    /// (`kept` is false for it) is placed too.
    pub fn place(&self, program: &Program, lengths: &Lengths, kept: impl Fn(usize) -> bool) -> Layout {
        self.place_sizes(program, |i| self.bytes(program, i, lengths), kept)
    }

    /// As [`Lives::place`], of temporaries of so many bytes.
    pub fn place_sizes(
        &self,
        program: &Program,
        bytes: impl Fn(usize) -> usize,
        kept: impl Fn(usize) -> bool,
    ) -> Layout {
        let mut wanted = vec![];
        for (i, buffer) in program.buffers.iter().enumerate() {
            // Outputs that lie here are read after the last step.
            let life = match buffer.kind {
                BufferKind::Temp => self.spans[i],
                BufferKind::Output(_) if !kept(i) => self.spans[i].map(|(first, _)| (first, usize::MAX)),
                _ => None,
            };
            if let Some(life) = life {
                wanted.push((bytes(i).next_multiple_of(self.form.align), life, i));
            }
        }
        wanted.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut layout = Layout { offsets: vec![0; program.buffers.len()], bytes: 0 };
        // By offset: start, end, life.
        let mut placed: Vec<(usize, usize, (usize, usize))> = vec![];
        for (bytes, life, i) in wanted {
            let mut at = 0;
            for (start, end, other) in &placed {
                if other.0 <= life.1 && life.0 <= other.1 {
                    if *start >= at + bytes {
                        break;
                    }
                    at = fit(at.max(*end), bytes, self.form.page);
                }
            }
            let place = placed.partition_point(|p| p.0 <= at);
            placed.insert(place, (at, at + bytes, life));
            layout.offsets[i] = at;
            layout.bytes = layout.bytes.max(at + bytes);
        }
        layout
    }
}
