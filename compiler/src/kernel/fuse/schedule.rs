//! The order of steps. They are made in that of the graph, where the gradients of weights come last and all that they read
//! would be held until then. Here a step that frees more than it takes goes first.

use super::homes::usual_size;
use crate::kernel::ir::{Buffer, BufferId, BufferKind, Program, Step};
use crate::kernel::size::Access;
use std::collections::{BTreeMap, BTreeSet};

/// The same steps, in the order that holds least at once (for the usual sizes). Those that write one buffer keep their
/// order, so sums have the same bits.
pub fn schedule(program: Program) -> Program {
    let mut steps: Vec<Option<Step>> = program.steps.iter().cloned().map(Some).collect();
    let uses = Uses::of(&program);
    let order = uses.late(uses.order());
    let ordered = Program {
        origins: order.iter().filter_map(|i| program.origins.get(*i).cloned()).collect(),
        steps: order.into_iter().filter_map(|i| steps[i].take()).collect(),
        buffers: program.buffers.clone(),
    };
    let most = |program: &Program| Lives::of(program).peak(program).map(|(_, bytes)| bytes);
    if most(&ordered) < most(&program) { ordered } else { program }
}

/// What steps wait for, and what they hold.
struct Uses {
    /// For each step: the steps that come after it.
    after: Vec<Vec<usize>>,
    /// For each step: how many others come before it.
    before: Vec<usize>,
    /// For each step: the temporaries that it uses.
    held: Vec<BTreeSet<BufferId>>,
    /// For each temporary: the steps that use it.
    users: BTreeMap<BufferId, Vec<usize>>,
    /// Its bytes.
    bytes: BTreeMap<BufferId, i64>,
}

impl Uses {
    fn of(program: &Program) -> Uses {
        let steps = program.steps.len();
        let mut uses = Uses {
            after: vec![vec![]; steps],
            before: vec![0; steps],
            held: vec![BTreeSet::new(); steps],
            users: BTreeMap::new(),
            bytes: BTreeMap::new(),
        };
        // For each buffer: the last step that writes it, and those that have read it since.
        let mut seen: Vec<(Option<usize>, Vec<usize>)> = vec![(None, vec![]); program.buffers.len()];
        for (i, step) in program.steps.iter().enumerate() {
            let mut waits: BTreeSet<usize> = BTreeSet::new();
            let accesses = step.accesses();
            for (buffer, access) in &accesses {
                let (writer, readers) = &seen[buffer.0 as usize];
                waits.extend(writer);
                if *access != Access::Read {
                    waits.extend(readers);
                }
            }
            waits.remove(&i);
            for (buffer, _) in accesses.iter().filter(|(_, access)| *access == Access::Read) {
                seen[buffer.0 as usize].1.push(i);
            }
            for (buffer, _) in accesses.iter().filter(|(_, access)| *access != Access::Read) {
                seen[buffer.0 as usize] = (Some(i), vec![]);
            }
            uses.before[i] = waits.len();
            waits.into_iter().for_each(|earlier| uses.after[earlier].push(i));
            for (buffer, _) in accesses {
                let data = program.buffer(buffer);
                if data.kind == BufferKind::Temp && uses.held[i].insert(buffer) {
                    uses.bytes.insert(buffer, usual_bytes(data));
                    uses.users.entry(buffer).or_default().push(i);
                }
            }
        }
        uses
    }

    /// Of the steps that wait for nothing the one that frees most, or the first if none frees anything.
    fn order(&self) -> Vec<usize> {
        let mut before = self.before.clone();
        let mut left: BTreeMap<BufferId, usize> = self.users.iter().map(|(b, users)| (*b, users.len())).collect();
        let mut made: BTreeSet<BufferId> = BTreeSet::new();
        // What a step adds to what is held; how much does not matter if it is more than nothing.
        let adds = |i: usize, left: &BTreeMap<BufferId, usize>, made: &BTreeSet<BufferId>| {
            let of = |buffer: &BufferId| {
                let (takes, frees) = (!made.contains(buffer), left[buffer] == 1);
                self.bytes[buffer] * (i64::from(takes) - i64::from(frees))
            };
            self.held[i].iter().map(of).sum::<i64>().min(0)
        };
        let mut ready: BTreeSet<(i64, usize)> = BTreeSet::new();
        // For each step that is ready: what it adds.
        let mut key: BTreeMap<usize, i64> = BTreeMap::new();
        let mut order = vec![];
        let mut next: Vec<usize> = (0..before.len()).filter(|i| before[*i] == 0).collect();
        loop {
            for i in next.drain(..) {
                let adds = adds(i, &left, &made);
                key.insert(i, adds);
                ready.insert((adds, i));
            }
            let Some((_, step)) = ready.pop_first() else { break };
            key.remove(&step);
            order.push(step);
            for buffer in &self.held[step] {
                let fresh = made.insert(*buffer);
                let left = left.get_mut(buffer).expect("it is used");
                *left -= 1;
                if fresh || *left == 1 {
                    next.extend(self.users[buffer].iter().filter(|user| key.contains_key(user)));
                }
            }
            next.sort_unstable();
            next.dedup();
            for i in &next {
                if let Some(adds) = key.remove(i) {
                    ready.remove(&(adds, *i));
                }
            }
            for after in &self.after[step] {
                before[*after] -= 1;
                if before[*after] == 0 {
                    next.push(*after);
                }
            }
        }
        order
    }
}

impl Uses {
    /// The order in which what is made of inputs alone is made just before its first reader.
    fn late(&self, order: Vec<usize>) -> Vec<usize> {
        let mut at = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, step)| at[*step] = place);
        let reader =
            |step: usize| self.after[step].iter().filter(|_| self.before[step] == 0).map(|after| at[*after]).min();
        let mut sorted: Vec<(usize, usize, usize)> = vec![];
        for (place, step) in order.into_iter().enumerate() {
            sorted.push((reader(step).unwrap_or(place), usize::from(reader(step).is_none()), step));
        }
        sorted.sort_by_key(|(place, is_itself, _)| (*place, *is_itself));
        sorted.into_iter().map(|(.., step)| step).collect()
    }
}

/// Where temporaries are used.
pub struct Lives(Vec<Vec<(usize, Access)>>);

impl Lives {
    pub fn of(program: &Program) -> Lives {
        let mut uses: Vec<Vec<(usize, Access)>> = vec![vec![]; program.buffers.len()];
        for (i, step) in program.steps.iter().enumerate() {
            for (buffer, access) in step.accesses() {
                match uses[buffer.0 as usize].last_mut() {
                    Some((step, own)) if *step == i => *own = if *own == Access::Read { access } else { *own },
                    _ => uses[buffer.0 as usize].push((i, access)),
                }
            }
        }
        Lives(uses)
    }

    /// The steps that use a buffer, in order; one that writes and reads it writes it.
    pub fn uses(&self, buffer: BufferId) -> &[(usize, Access)] {
        &self.0[buffer.0 as usize]
    }

    /// The first step at which temporaries are most (for the usual sizes), and their bytes.
    pub fn peak(&self, program: &Program) -> Option<(usize, i64)> {
        let mut changes = vec![0; program.steps.len() + 1];
        for (buffer, data) in program.ids().filter(|(_, data)| data.kind == BufferKind::Temp) {
            let uses = self.uses(buffer);
            let (Some((first, _)), Some((last, _))) = (uses.first(), uses.last()) else { continue };
            changes[*first] += usual_bytes(data);
            changes[last + 1] -= usual_bytes(data);
        }
        let mut held = 0;
        let sums = changes.iter().enumerate().map(|(step, change)| {
            held += change;
            (step, held)
        });
        sums.max_by_key(|(step, held)| (*held, std::cmp::Reverse(*step)))
    }
}

pub fn usual_bytes(buffer: &Buffer) -> i64 {
    let entries: f64 = buffer.axes.iter().map(usual_size).product();
    buffer.bytes_of(entries as usize) as i64
}

#[cfg(test)]
mod tests {
    use super::super::library::llama_step;
    use super::super::{Layouts, in_graph_order, remake::remake};
    use super::*;
    use crate::kernel::parse::parse;

    fn most(program: &Program) -> f64 {
        Lives::of(program).peak(program).map_or(0.0, |(_, bytes)| bytes as f64)
    }

    #[test]
    fn a_layer_holds_what_its_backward_pass_needs() {
        let held = |layers: usize| {
            let net =
                format!("llama(vocab_size: 4096, layers: {layers}, width: 96, heads: 6, kv_heads: 2, inner: 256)");
            let given = in_graph_order(&llama_step(&net, 4096), &Layouts::default()).expect("it has kernels");
            let ordered = schedule(given.clone());
            let again = remake(ordered.clone());
            [&given, &ordered, &again].map(most)
        };
        let (few, many) = (held(8), held(16));
        let layer: Vec<f64> = few.iter().zip(&many).map(|(a, b)| (b - a) / (8.0 * 4.0 * 1024.0)).collect();
        // Numbers a token. Two sums before norms, the query, key and value as they go into attention, its result and the
        // log-sum-exps, the gate and what it is on; two sums of squares.
        let needed = (2 * 96 + (96 + 32 + 32) + 96 + 6 + 2 * 256 + 2) as f64;
        assert_eq!(layer[2], needed, "{layer:?}");
        // Beside these the norms and what the gate lets through.
        assert_eq!(layer[1], needed + (2 * 96 + 256) as f64, "{layer:?}");
        assert!(many[0] > 1.1 * many[1], "{many:?}");
    }

    #[test]
    fn what_frees_memory_goes_first_but_sums_keep_their_order() {
        let order = |last: &str| {
            let buffers = ["input \"x\"", "temp", "temp", "output \"y\"", "output \"z\""];
            let mut text = String::new();
            for (i, kind) in buffers.iter().enumerate() {
                text += &format!("%{i} = {kind} float {{a:4}} \"b{i}\"\n");
            }
            for (from, to) in [(0, "store %1"), (0, "store %2"), (2, "store %3"), (1, last)] {
                text += &format!("rows \"n\" ([a:4]) lanes rows {{\n  v0 float = load %{from}[0 + i0*1]\n");
                text += &format!("  {to}[0 + i0*1] v0\n}}\n");
            }
            Uses::of(&parse(&text).unwrap_or_else(|e| panic!("{e:?}\n{text}"))).order()
        };
        assert_eq!(order("store %4"), [0, 3, 1, 2]);
        assert_eq!(order("add %3"), [0, 1, 2, 3]);
    }
}
