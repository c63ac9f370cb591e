//! The text of one kernel while it is written: what it binds, the functions that it calls, its lines.

use std::collections::BTreeSet;
use std::fmt::Write;

use align_compiler::kernel::{BufferId, Size, View};
use align_compiler::storage::Storage;
use align_compiler::tensor::{Axis, DType, TableKind};

use super::library::{self, Function};
use super::names::Names;
use super::{Bind, Bound, Context, Field, Form, Grid, Kernel, Shader};

/// Stands around the number of a binding in the text until names are put there.
const MARK: char = '§';

pub struct Source<'p> {
    pub context: Context<'p>,
    bindings: Vec<Bind>,
    /// Bound as vectors of four.
    fours: BTreeSet<usize>,
    fields: Vec<(Field, String)>,
    field_names: Names,
    functions: BTreeSet<Function>,
    /// Functions that read buffers which are not f32: their bindings.
    readers: BTreeSet<usize>,
    names: Names,
    workgroup: Vec<String>,
    scratch: Vec<&'static str>,
    lines: String,
    depth: usize,
}

impl<'p> Source<'p> {
    pub fn new(context: Context<'p>) -> Source<'p> {
        Source {
            context,
            bindings: vec![],
            fours: BTreeSet::new(),
            fields: vec![],
            field_names: Names::default(),
            functions: BTreeSet::new(),
            readers: BTreeSet::new(),
            names: Names::default(),
            workgroup: vec![],
            scratch: vec![],
            lines: String::new(),
            depth: 1,
        }
    }

    // ------------------------------------------------------------------------------------------------------ lines

    pub fn line(&mut self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let _ = writeln!(self.lines, "{:1$}{text}", "", 4 * self.depth);
    }

    /// A line that opens a block.
    pub fn open(&mut self, text: impl AsRef<str>) {
        self.line(format!("{} {{", text.as_ref()));
        self.depth += 1;
    }

    pub fn close(&mut self) {
        self.depth -= 1;
        self.line("}");
    }

    /// A name of the kernel's own that nothing else has.
    pub fn name(&mut self, name: &str) -> String {
        self.names.give(name)
    }

    /// Memory of the workgroup.
    pub fn shared(&mut self, name: &str, of: &str) -> String {
        let name = self.names.give(name);
        self.workgroup.push(format!("var<workgroup> {name}: {of};"));
        name
    }

    // ------------------------------------------------------------------------------------------------------ sizes

    fn field(&mut self, field: Field, name: &str) -> String {
        let known = self.fields.iter().find(|(f, _)| *f == field).map(|(_, name)| name.clone());
        let name = known.unwrap_or_else(|| {
            let name = self.field_names.give(name);
            self.fields.push((field, name.clone()));
            name
        });
        format!("sizes.{name}")
    }

    /// The number of indices of an axis, a u32.
    pub fn axis(&mut self, axis: &Axis) -> String {
        match axis.fixed_size() {
            Some(n) => format!("{n}u"),
            None => self.field(Field::Axis(axis.clone()), axis.name()),
        }
    }

    /// A size as u32: a number, or a product in brackets where it has factors.
    pub fn size(&mut self, size: &Size) -> String {
        if let Some(n) = size.constant() {
            return format!("{n}u");
        }
        let axes: Vec<String> = size.axes.iter().map(|axis| self.axis(axis)).collect();
        match (size.factor, &axes[..]) {
            (1, [one]) => one.clone(),
            (1, all) => format!("({})", all.join(" * ")),
            (factor, all) => format!("({factor}u * {})", all.join(" * ")),
        }
    }

    /// The number of the step's first fault.
    pub fn fault(&mut self) -> String {
        self.bind(Bind::Faults);
        self.field(Field::Fault, "fault")
    }

    // --------------------------------------------------------------------------------------------------- functions

    /// A call of a function of the library, which the text then has.
    pub fn call(&mut self, function: Function, args: &[&str]) -> String {
        if function == Function::Checked {
            self.bind(Bind::Faults);
        }
        self.functions.insert(function);
        format!("{}({})", function.name(), args.join(", "))
    }

    // ----------------------------------------------------------------------------------------------------- buffers

    fn bind(&mut self, bind: Bind) -> usize {
        let known = self.bindings.iter().position(|b| *b == bind);
        known.unwrap_or_else(|| {
            self.bindings.push(bind);
            self.bindings.len() - 1
        })
    }

    /// Memory that the step's dispatches hand on, of this element type.
    pub fn scratch(&mut self, number: usize, element: &'static str) -> String {
        let binding = self.bind(Bind::Scratch(number));
        while self.scratch.len() <= number {
            self.scratch.push("u32");
        }
        self.scratch[number] = element;
        format!("{MARK}{binding}{MARK}")
    }

    /// An entry of a table of a packed axis, an i32.
    pub fn table(&mut self, axis: &Axis, kind: TableKind, at: &str) -> String {
        let binding = self.bind(Bind::Table(axis.clone(), kind));
        format!("{MARK}{binding}{MARK}[{at}]")
    }

    pub fn bound(&self, buffer: BufferId) -> Bound {
        self.context.of(buffer)
    }

    /// Whether entries of the buffer can be read four at a time from entries whose number is a multiple of four.
    pub fn has_fours(&self, buffer: BufferId) -> bool {
        let Bound { form, shifted, .. } = self.bound(buffer);
        form == Form::F32 && !shifted
    }

    /// The array, seen as vectors of four floats ([`Source::has_fours`]). It is then not read otherwise.
    pub fn fours(&mut self, buffer: BufferId) -> String {
        let binding = self.bind(Bind::Buffer(buffer));
        self.fours.insert(binding);
        format!("{MARK}{binding}{MARK}")
    }

    /// As [`Source::has_fours`], of numbers in bf16 too: [`Source::load_fours`] reads them.
    pub fn reads_fours(&self, buffer: BufferId) -> bool {
        let Bound { form, shifted, .. } = self.bound(buffer);
        matches!(form, Form::F32 | Form::Half) && !shifted
    }

    /// Four floats: `at` counts vectors.
    pub fn load_fours(&mut self, buffer: BufferId, at: &str) -> String {
        let name = self.fours(buffer);
        match self.bound(buffer).form {
            Form::Half => format!("bitcast<vec4<f32>>(vec4<u32>({name}[{at}]) << vec4(16u))"),
            _ => format!("{name}[{at}]"),
        }
    }

    /// Whether entries can be stored four at a time.
    pub fn stores_fours(&self, buffer: BufferId) -> bool {
        let narrow = self.context.program.buffer(buffer).storage != Storage::F32;
        self.has_fours(buffer) && self.bound(buffer).over.is_none() && !narrow
    }

    /// As [`Source::store`], of four entries: `at` counts vectors ([`Source::fours`]).
    pub fn store_fours(&mut self, buffer: BufferId, at: &str, value: &str, add: bool) {
        let add = add || self.bound(buffer).add;
        let name = self.fours(buffer);
        self.line(format!("{name}[{at}] {} {value};", if add { "+=" } else { "=" }));
    }

    fn place(&mut self, buffer: BufferId, at: &str) -> (String, String) {
        let buffer = self.bound(buffer).over.unwrap_or(buffer);
        let binding = self.bind(Bind::Buffer(buffer));
        let at = match self.bound(buffer).shifted {
            false => at.to_string(),
            true => {
                let first = self.field(Field::First(buffer), &format!("first_{binding}"));
                if at == "0u" { first } else { format!("{first} + {at}") }
            }
        };
        (format!("{MARK}{binding}{MARK}"), at)
    }

    /// Reads an entry: f32, i32 or bool.
    pub fn load(&mut self, buffer: BufferId, at: &str) -> String {
        let (name, at) = self.place(buffer, at);
        match self.bound(buffer).form {
            Form::F32 | Form::I32 => format!("{name}[{at}]"),
            Form::Bool => format!("({name}[{at}] != 0u)"),
            Form::Half => format!("bitcast<f32>(u32({name}[{at}]) << 16u)"),
            Form::Bf16 | Form::Q8 | Form::Q4 => {
                let binding = self.bind(Bind::Buffer(buffer));
                self.readers.insert(binding);
                format!("{name}_at({at})")
            }
        }
    }

    /// Stores an entry, or adds to it. Floats of a buffer in bf16 are rounded.
    pub fn store(&mut self, buffer: BufferId, at: &str, value: &str, add: bool) {
        let add = add || self.bound(buffer).add;
        let narrow = self.context.program.buffer(buffer);
        let rounds = narrow.dtype == DType::Float && narrow.storage == Storage::Bf16;
        let (name, at) = self.place(buffer, at);
        if self.bound(buffer).form == Form::Half {
            let old = format!("bitcast<f32>(u32({name}[{at}]) << 16u)");
            let sum = if add { format!("{old} + {value}") } else { value.to_string() };
            let rounded = self.call(Function::Bf16, &[&sum]);
            self.line(format!("{name}[{at}] = u16(bitcast<u32>({rounded}) >> 16u);"));
            return;
        }
        let value = match self.bound(buffer).form {
            Form::Bool => format!("select(0u, 1u, {value})"),
            _ if rounds => self.call(Function::Bf16, &[value]),
            _ => value.to_string(),
        };
        self.line(format!("{name}[{at}] {} {value};", if add { "+=" } else { "=" }));
    }

    // ------------------------------------------------------------------------------------------------------- views

    /// The place of an index of a view: a sum of products, in brackets if need be.
    pub fn within(&mut self, view: &View, at: &[(&Axis, &str)]) -> String {
        let mut parts = if view.offset > 0 { vec![format!("{}u", view.offset)] } else { vec![] };
        for (axis, index) in at {
            let stride = view.stride(axis);
            if let Some(part) = self.times(index, &stride) {
                parts.push(part);
            }
        }
        if parts.is_empty() { "0u".into() } else { parts.join(" + ") }
    }

    /// `index * stride`; nothing where it is 0.
    pub fn times(&mut self, index: &str, stride: &Size) -> Option<String> {
        if stride.is_zero() || index == "0u" {
            return None;
        }
        Some(match stride.is_one() {
            true => index.to_string(),
            false => format!("{index} * {}", self.size(stride)),
        })
    }

    /// Says what the indices of some loops are, outermost first, at a place counted over all of them. Gives the names.
    pub fn unfold(&mut self, place: &str, loops: &[(String, Size)]) -> Vec<String> {
        let names: Vec<String> = loops.iter().map(|(name, _)| self.name(name)).collect();
        for (i, name) in names.iter().enumerate() {
            let inner = loops[i + 1..].iter().fold(Size::one(), |n, (_, size)| n.times(size));
            let outer = loops[..i].iter().any(|(_, size)| !size.is_one());
            let divided = match inner.is_one() {
                true => place.to_string(),
                false => format!("{place} / {}", self.size(&inner)),
            };
            let text = match (loops[i].1.is_one(), outer) {
                (true, _) => "0u".to_string(),
                (false, false) => divided,
                (false, true) => {
                    let size = self.size(&loops[i].1);
                    if inner.is_one() { format!("{place} % {size}") } else { format!("({divided}) % {size}") }
                }
            };
            self.line(format!("let {name} = {text};"));
        }
        names
    }

    /// Says which workgroup this is, counted over both dimensions of the grid: a dimension has at most 65,535.
    pub fn group(&mut self) -> &'static str {
        self.line("let group = group_id.y * groups.x + group_id.x;");
        "group"
    }

    // ------------------------------------------------------------------------------------------------------ finish

    /// The kernel: `about` says in a line or more what it works out.
    pub fn finish(self, about: &str, width: usize, grid: Grid) -> Kernel {
        self.finish_in_rows(about, (width, 1), grid)
    }

    /// As [`Source::finish`], of workgroups whose lanes have so many rows: what the lanes of a row find is joined by itself.
    pub fn finish_in_rows(self, about: &str, (width, rows): (usize, usize), grid: Grid) -> Kernel {
        let neutral = |i: usize| format!("b{i}");
        let mut names = self.names;
        // What the lines call things by themselves is nobody else's name.
        let of_lines = self.lines.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        of_lines.for_each(|word| names.take(word));
        let program = self.context.program;
        let give = |names: &mut Names, bind: &Bind| match bind {
            Bind::Buffer(id) => names.give(&program.buffer(*id).name),
            Bind::Table(axis, kind) => names.give(&format!("{}_{kind:?}", axis.name()).to_lowercase()),
            Bind::Scratch(_) => names.give("between"),
            Bind::Faults => "faults".into(),
        };
        let mut own: Vec<Option<String>> = vec![None; self.bindings.len()];
        // Those that have a function which reads them, and then its name, first.
        self.readers.iter().for_each(|i| own[*i] = Some(give(&mut names, &self.bindings[*i])));
        let read: Vec<String> = own.iter().flatten().map(|name| format!("{name}_at")).collect();
        read.iter().for_each(|name| names.take(name));
        let own: Vec<String> = own
            .into_iter()
            .zip(&self.bindings)
            .map(|(known, bind)| known.unwrap_or_else(|| give(&mut names, bind)))
            .collect();
        let mut text = String::new();
        let is_half = |bind: &Bind| matches!(bind, Bind::Buffer(id) if self.context.of(*id).form == Form::Half);
        if self.bindings.iter().any(is_half) {
            text.push_str("enable wgpu_int16;\n\n");
        }
        if !self.fields.is_empty() {
            text.push_str("struct Sizes {\n");
            self.fields.iter().for_each(|(_, name)| text.push_str(&format!("    {name}: u32,\n")));
            text.push_str("}\n\n@group(0) @binding(0) var<uniform> sizes: Sizes;\n");
        }
        for (i, bind) in self.bindings.iter().enumerate() {
            let element = match bind {
                Bind::Buffer(id) if self.fours.contains(&i) => match self.context.of(*id).form {
                    Form::Half => "vec4<u16>",
                    _ => "vec4<f32>",
                },
                Bind::Buffer(id) => self.context.of(*id).form.element(),
                Bind::Table(..) => "i32",
                Bind::Scratch(number) => self.scratch[*number],
                Bind::Faults => "atomic<i32>",
            };
            let name = if *bind == Bind::Faults { "faults".into() } else { format!("{MARK}{i}{MARK}") };
            text.push_str(&format!(
                "@group(0) @binding({}) var<storage, read_write> {name}: array<{element}>;\n",
                i + 1
            ));
        }
        self.workgroup.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        text.push('\n');
        for binding in &self.readers {
            let Bind::Buffer(id) = self.bindings[*binding] else { continue };
            let form = self.context.of(id).form;
            text.push_str(&library::reader(form, &format!("{MARK}{binding}{MARK}")));
            text.push('\n');
        }
        for function in library::with_what_they_call(&self.functions) {
            text.push_str(&function.text(width, rows));
            text.push('\n');
        }
        for line in about.lines() {
            text.push_str(&format!("// {line}\n"));
        }
        text.push_str(&format!("@compute @workgroup_size({width})\nfn main("));
        text.push_str("@builtin(workgroup_id) group_id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, ");
        text.push_str("@builtin(local_invocation_index) lane: u32) {\n");
        text.push_str(&self.lines);
        text.push_str("}\n");
        let named = |name: &dyn Fn(usize) -> String| {
            let parts = text.split(MARK).enumerate();
            let part = |(i, part): (usize, &str)| match i % 2 {
                0 => part.to_string(),
                _ => name(part.parse().unwrap_or(0)),
            };
            parts.map(part).collect::<String>()
        };
        let key = named(&neutral).lines().filter(|line| !line.starts_with("//")).collect::<Vec<_>>().join("\n");
        let shader = Shader { text: named(&|i| own[i].clone()), key };
        let fields = self.fields.into_iter().map(|(field, _)| field).collect();
        Kernel { about: about.to_string(), shader, fields, bindings: self.bindings, grid }
    }
}
