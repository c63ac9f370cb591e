//! What host code asks of policies about many texts: [`Asked`] notes the questions of a pass over rows, and gives their answers
//! in the next one. In a pass each row goes on until it needs an answer that is still to come; loops that ask go on in the next one
//! where they had come to ([`crate::eval::bookmarks`]).
//!
//! A question is a function of nets and one text: `score(rm, y)`, `logp(p, y)`, `token_kl(p, reference, y)`. It is traced once, and
//! asked about all texts at once. In a pipeline that is an evaluation, whose answers the program is built with, as with replies
//! that are drawn; in a stage that draws as it trains the trainer answers with the weights of the moment.

use super::answers::{Answers, Key, Keyed};
use super::asking::{self, ServerAsked};
use super::build::Builder;
use super::data::{Data, Drawn};
use super::evaluate::AnswerKind;
use super::hash::{ContentHash, Hasher};
use super::remote::Said;
use super::rows::GLANCE;
use super::sample::{Drawer, DrawnReply};
use super::sources::Source;
use super::writes::{WriteOf, Writing};
use super::{metric, nets, words};
use crate::eval::asks::Asks;
use crate::eval::value::{Function, Item, Net, Record, Value};
use crate::eval::{Bookmarks, Eval, MISSING, NONE, Res, fault, pending};
use crate::tensor::{Axis, AxisKind, DType, Graph};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// The field of the rows of a question that holds the text.
const TEXT: &str = "text";
/// Rows that are tried to see whether they ask anything.
const LOOKED: usize = 64;
/// Passes that lead to other questions, not the same ones about more texts.
const OTHERS: usize = 64;
/// Answers that lead to more questions, one after another.
const PASSES: usize = 100_000;
/// The output of a question.
pub const SAID: &str = "said";

/// A function of nets and a text, traced.
#[derive(Clone)]
pub struct Question {
    f: Value,
    args: Vec<Value>,
    at: usize,
    /// For one item with the field `text`; its output is [`SAID`].
    pub graph: Graph,
    /// A number for each token, not one for all.
    pub per_token: bool,
    dtype: DType,
    pub span: Span,
}

/// A text that a question is asked about.
#[derive(Clone)]
pub struct AskedOf {
    pub question: usize,
    key: ContentHash,
    pub text: Value,
}

impl Keyed for AskedOf {
    fn key(&self) -> Key {
        (self.question, self.key)
    }
}

impl AskedOf {
    /// The row that the question reads.
    pub fn row(&self) -> Value {
        Value::Record(Rc::new(Record { name: None, fields: vec![(TEXT.into(), self.text.clone())] }))
    }
}

/// What was asked, and what is known of it.
#[derive(Default)]
pub struct Asked {
    pub questions: RefCell<Vec<Question>>,
    /// Functions that no graph can be made of: host code.
    host: RefCell<Vec<Value>>,
    pub(super) said: RefCell<Answers<AskedOf, Vec<f64>>>,
    /// Replies that are asked for.
    pub(super) writings: RefCell<Vec<Rc<Writing>>>,
    pub(super) written: RefCell<Answers<WriteOf, Vec<DrawnReply>>>,
    /// What servers answer.
    servers: RefCell<Answers<ServerAsked, Vec<Said>>>,
    /// They are asked about what a stage draws.
    asks_servers: Cell<bool>,
    /// What is asked is asked about what a stage draws.
    in_moment: Cell<bool>,
    /// Zeros stand in for answers that nobody has.
    stands_in: Cell<bool>,
    /// How often something was asked, and how often nobody knew the answer.
    count: Cell<usize>,
    unknown: Cell<usize>,
    /// See [`Asks::waits`].
    waits: Cell<bool>,
}

/// How a pass over rows went that may have asked policies.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// Policies were asked: what was made of rows holds for these answers alone.
    pub asked: bool,
    /// The stages that answer, and whether something stands in for answers.
    pub drawn: Drawn,
}

impl Asks for Asked {
    fn ask(&self, eval: &mut Eval, f: &Value, args: &[Value], at: usize, span: Span) -> Option<Res<Value>> {
        let question = match self.question(eval, f, args, at, span)? {
            Ok(question) => question,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(self.answer(eval, question, &args[at])))
    }

    fn count(&self) -> usize {
        self.count.get()
    }

    fn waits(&self) -> bool {
        self.waits.get()
    }

    fn set_waits(&self, waits: bool) {
        self.waits.set(waits);
    }
}

impl Asked {
    /// The question, traced if it is new. `None`: the function is host code.
    fn question(&self, eval: &mut Eval, f: &Value, args: &[Value], at: usize, span: Span) -> Option<Res<usize>> {
        let is = |known: &Question, eval: &mut Eval| {
            let others = || known.args.iter().zip(args).enumerate().filter(|(i, _)| *i != at);
            known.at == at
                && known.args.len() == args.len()
                && known.graph_reads_as(&args[at])
                && same_function(eval, &known.f, f)
                && others().all(|(_, (a, b))| same(eval, a, b))
        };
        let count = self.questions.borrow().len();
        for i in 0..count {
            let known = self.questions.borrow()[i].clone();
            if is(&known, eval) {
                return Some(Ok(i));
            }
        }
        let is_builtin = matches!(f, Value::Function(f) if matches!(**f, Function::Builtin(_)));
        if self.host.borrow().iter().any(|known| same_function(eval, known, f)) {
            return None;
        }
        match traced(eval, f, args, at, span) {
            Ok(question) => {
                self.questions.borrow_mut().push(question);
                Some(Ok(count))
            }
            Err(error) if is_builtin => Some(Err(error)),
            Err(_) => {
                self.host.borrow_mut().push(f.clone());
                None
            }
        }
    }

    /// What is known of a question about a text. Else it is noted that it is wanted; where nobody is to answer, zeros are given.
    fn answer(&self, eval: &mut Eval, question: usize, text: &Value) -> Value {
        self.count.set(self.count.get() + 1);
        if self.in_moment.get() {
            self.said.borrow_mut().ask_of_moment(question);
        }
        let mut hasher = Hasher::new("asked of");
        super::rows::hash(text, &mut hasher);
        let key = hasher.finish();
        let (per_token, dtype) = {
            let of = &self.questions.borrow()[question];
            (of.per_token, of.dtype)
        };
        let of = AskedOf { question, key, text: text.clone() };
        let known = self.said.borrow().get(of.key());
        if known.is_none() && self.has_to_wait() {
            self.said.borrow_mut().want(of);
            return pending();
        }
        let numbers = known.unwrap_or_else(|| vec![0.0; if per_token { length(text) } else { 1 }]);
        if per_token {
            let axis = Axis::fixed("time", numbers.len());
            let node = eval.graph().array(numbers, vec![axis], dtype);
            return eval.tensor(node);
        }
        let number = numbers.first().copied().unwrap_or(f64::NAN);
        match dtype {
            DType::Float => Value::Float(number),
            DType::Int => Value::Int(number as i64),
            DType::Bool => Value::Bool(number != 0.0),
        }
    }

    /// The replies to a prompt, if they are known, or something in their place where nobody is to answer. Else it is noted that they
    /// are wanted.
    pub(super) fn replies(&self, of: &WriteOf, stand_in: impl FnOnce() -> Vec<DrawnReply>) -> Option<Vec<DrawnReply>> {
        self.count.set(self.count.get() + 1);
        if self.in_moment.get() {
            self.written.borrow_mut().ask_of_moment(of.writing);
        }
        let known = self.written.borrow().get(of.key());
        if known.is_none() && self.has_to_wait() {
            self.written.borrow_mut().want(of.clone());
            return None;
        }
        Some(known.unwrap_or_else(stand_in))
    }

    /// What a server says, if that is known. Else it is noted that it is wanted.
    pub(super) fn of_server(&self, of: &ServerAsked) -> Option<Vec<Said>> {
        self.count.set(self.count.get() + 1);
        if self.in_moment.get() {
            self.ask_servers();
        }
        let known = self.servers.borrow().get(of.key());
        if known.is_none() && self.has_to_wait() {
            self.servers.borrow_mut().want(of.clone());
        }
        known
    }

    /// Notes that servers are asked about what a stage draws.
    pub(super) fn ask_servers(&self) {
        self.asks_servers.set(true);
    }

    pub(super) fn asks_servers(&self) -> bool {
        self.asks_servers.get()
    }

    /// What a server has said, for as long as the program is built or for a moment.
    pub(super) fn told(&self, of: &ServerAsked, said: Vec<Said>, stays: bool) {
        let mut servers = self.servers.borrow_mut();
        if stays { servers.tell(of, said) } else { servers.tell_now(of, said) }
    }

    pub(super) fn is_told(&self, of: &ServerAsked) -> bool {
        self.servers.borrow().get(of.key()).is_some()
    }

    /// What waits for servers.
    pub(super) fn take_unasked(&self) -> Vec<ServerAsked> {
        self.servers.borrow_mut().take_waiting()
    }

    /// Nobody knows the answer: whether the row has to wait for it, since nothing stands in for it.
    fn has_to_wait(&self) -> bool {
        self.unknown.set(self.unknown.get() + 1);
        let waits = !self.stands_in.get();
        self.waits.set(self.waits.get() || waits);
        waits
    }

    /// Whether something stands in for answers that nobody has.
    pub(super) fn stands_in(&self) -> bool {
        self.stands_in.get()
    }

    /// What waits for an answer.
    pub(super) fn take_waiting(&self) -> (Vec<AskedOf>, Vec<WriteOf>) {
        (self.said.borrow_mut().take_waiting(), self.written.borrow_mut().take_waiting())
    }

    /// The questions that were asked about what a stage draws, each with its number.
    pub(super) fn questions_of_moment(&self) -> Vec<(usize, Question)> {
        let questions = self.questions.borrow();
        self.said.borrow().of_moment().iter().map(|number| (*number, questions[*number].clone())).collect()
    }

    /// What is written of what a stage draws, each with its number.
    pub(super) fn writings_of_moment(&self) -> Vec<(usize, Rc<Writing>)> {
        let writings = self.writings.borrow();
        self.written.borrow().of_moment().iter().map(|number| (*number, writings[*number].clone())).collect()
    }

    /// Forgets the answers of a moment.
    pub(super) fn forget(&self) {
        self.said.borrow_mut().forget();
        self.written.borrow_mut().forget();
        self.servers.borrow_mut().forget();
    }

    /// Calls `f` for each row; once something was asked, for no more than `most`. Gives whether that was so; what waits for an
    /// answer is noted. With `bookmarks`, one for each row that has asked, loops of rows go on where they had come to.
    pub(super) fn pass(
        self: &Rc<Self>,
        eval: &mut Eval,
        (rows, most): (usize, usize),
        bookmarks: &mut HashMap<usize, Bookmarks>,
        f: &mut dyn FnMut(&mut Eval, usize) -> Res<()>,
    ) -> Res<bool> {
        let mut asked = false;
        for row in 0..rows {
            if asked && row >= most {
                break;
            }
            let (before, unknown) = (self.count.get(), self.unknown.get());
            self.waits.set(false);
            let marks = bookmarks.get(&row).cloned().unwrap_or_default();
            let run = |eval: &mut Eval| eval.marked(&marks, |eval| eval.with_asks(self.clone(), |eval| f(eval, row)));
            let result = eval.aside(run, &|| self.count.get() > before);
            asked |= self.count.get() > before;
            if self.unknown.get() == unknown {
                bookmarks.remove(&row);
            } else {
                bookmarks.insert(row, marks);
            }
            self.waits.set(false);
            // A row that has to wait is made again with the answers, and zeros in their place may lead astray. What is wrong with any
            // answer is told at once where only a check follows.
            match result {
                Err(error) if self.unknown.get() == unknown => return Err(error),
                Err(error) if self.stands_in.get() && !of_values(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(asked)
    }
}

impl Question {
    /// What an answer is.
    pub fn kind(&self) -> AnswerKind {
        if self.per_token { AnswerKind::Numbers } else { AnswerKind::Number }
    }

    /// The nets that are asked.
    fn nets(&self) -> impl Iterator<Item = &Rc<Net>> {
        self.args.iter().filter_map(|arg| if let Value::Net(net) = arg { Some(net) } else { None })
    }

    /// Whether a text is of the kind that the graph was traced for.
    fn graph_reads_as(&self, text: &Value) -> bool {
        std::mem::discriminant(&self.args[self.at]) == std::mem::discriminant(text)
    }
}

/// Whether an error may be that of a stand-in's value.
fn of_values(error: &Diagnostic) -> bool {
    error.code.starts_with("E033") || error.code.starts_with("E07") || error.code == NONE
}

/// How many tokens a text has, as far as that is known without a tokenizer.
fn length(text: &Value) -> usize {
    match text {
        Value::Reply(reply) => reply.drawn.as_ref().map_or(1, |drawn| drawn.length()),
        _ => 1,
    }
}

fn same_function(eval: &Eval, a: &Value, b: &Value) -> bool {
    let of = (a, b);
    match (a, b) {
        (Value::Function(a), Value::Function(b)) => match (&**a, &**b) {
            (Function::Builtin(a), Function::Builtin(b)) => a == b,
            // Evaluators make code of a definition each for itself; one inside of a function is of its scope.
            (Function::Def { def: a, given: None }, Function::Def { def: b, given: None }) => {
                Rc::ptr_eq(a, b) || a.span() == b.span() && (a.env.is_none() && b.env.is_none() || same_code(eval, of))
            }
            _ => Rc::ptr_eq(a, b),
        },
        _ => false,
    }
}

fn same(eval: &Eval, a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Net(a), Value::Net(b)) => a == b,
        (Value::Function(_), Value::Function(_)) if same_function(eval, a, b) => true,
        _ => same_code(eval, (a, b)),
    }
}

fn same_code(eval: &Eval, (a, b): (&Value, &Value)) -> bool {
    words::code_of(eval, a).is_some_and(|a| Some(a) == words::code_of(eval, b))
}

fn traced(eval: &mut Eval, f: &Value, args: &[Value], at: usize, span: Span) -> Res<Question> {
    let row = Value::Record(Rc::new(Record { name: None, fields: vec![(TEXT.into(), args[at].clone())] }));
    let item = Value::Item(Rc::new(Item { ty: super::rows::item_type(eval.program, &row), prefix: String::new() }));
    let read = Value::function(Function::Accessor(TEXT.into()));
    let traced = eval.in_graph_by_source(|eval| {
        let mut args = args.to_vec();
        args[at] = eval.call_value(&read, vec![item], span)?;
        let said = eval.call_value(f, args, span)?;
        let Value::Tensor(tensor) = said else {
            return fault("E0190", span, format!("a number is asked of policies, this is {}", said.kind()));
        };
        eval.graph().output(SAID, tensor.node);
        Ok(tensor.node)
    });
    let (node, graph) = traced?;
    let per_token = match graph.axes(node) {
        [] => false,
        [time] if matches!(time.kind(), AxisKind::Ragged { outer: None, .. }) => true,
        axes => {
            let message = format!(
                "code that makes rows asks policies for a number, or one for each token; this has {}",
                axes.iter().map(Axis::name).collect::<Vec<_>>().join(", ")
            );
            let help = "ask by a function that gives less: `fn sure(p: Policy, y: Reply) = mean[time](entropy(p, y))`";
            return Err(Box::new(Diagnostic::error("E0190", span, message).help(help)));
        }
    };
    if !nets::reads_weights(&graph) {
        return fault("E0190", span, "this asks nothing of a policy");
    }
    let dtype = graph.dtype(node);
    Ok(Question { f: f.clone(), args: args.to_vec(), at, graph, per_token, dtype, span })
}

/// What `f` makes of each row, where policies may answer what is asked; nothing of rows that a check does not come to, and of those
/// for which an answer is missing. That it is missing for all is a fault.
pub(super) fn each<T>(
    eval: &mut Eval,
    data: &Data<Value>,
    f: &mut dyn FnMut(&mut Eval, Value) -> Res<T>,
) -> Res<(Vec<Option<T>>, Settled)> {
    let mut made: Vec<Option<T>> = std::iter::repeat_with(|| None).take(data.len()).collect();
    let mut missing = vec![None; data.len()];
    let mut one = |eval: &mut Eval, row: usize| {
        let value = match data.get(eval, row) {
            Err(error) if error.code == MISSING => {
                (made[row], missing[row]) = (None, Some(error));
                return Ok(());
            }
            value => value?,
        };
        // In each pass the same draws, in each row its own.
        let of = eval.keyed(&data.keys(row), |eval| f(eval, value));
        (made[row], missing[row]) = match of {
            Ok(made) => (Some(made), None),
            Err(error) if error.code == MISSING => (None, Some(error)),
            Err(error) => return Err(data.at_row(row, error)),
        };
        Ok(())
    };
    let settled = match eval.hooks.clone() {
        Some(hooks) => hooks.settle(eval, data.len(), data.drawn().stand_in, &mut one)?,
        None => (0..data.len()).try_for_each(|row| one(eval, row)).map(|()| Settled::default())?,
    };
    match missing.into_iter().flatten().next().filter(|_| made.iter().all(Option::is_none)) {
        Some(missing) => Err(missing),
        None => Ok((made, settled)),
    }
}

/// Rows that anybody can read: as they are, or made with the answers of the policies that they ask.
pub(super) fn readable(eval: &mut Eval, data: &Data<Value>, span: Span) -> Res<Data<Value>> {
    let asks = (0..data.len().min(LOOKED)).any(|row| data.get(eval, row).is_err_and(|error| error.code == "E0190"));
    if asks { rows(eval, data, span) } else { Ok(data.clone()) }
}

/// The rows themselves, made with the answers of the policies that they ask.
pub(super) fn rows(eval: &mut Eval, data: &Data<Value>, span: Span) -> Res<Data<Value>> {
    let (made, settled) = each(eval, data, &mut |eval, row| eval.plain(&row, span))?;
    Ok(Data::held(made.into_iter().flatten().collect()).with_drawn(data.drawn()).with_drawn(&settled.drawn))
}

/// Calls `f` for each of the rows of a pipeline, where policies answer what it asks. `after_draws`: the rows are made of replies
/// that nobody has drawn yet.
pub(super) fn settle(
    builder: &Builder,
    eval: &mut Eval,
    rows: usize,
    after_draws: bool,
    f: &mut dyn FnMut(&mut Eval, usize) -> Res<()>,
) -> Res<Settled> {
    let asked = builder.asked();
    let is_live = builder.state.borrow().live.is_some() && after_draws;
    let tally = eval.tally.borrow().clone();
    let mut settled = Settled::default();
    let mut answered = !is_live;
    // A program that is only checked asks about a few rows.
    let most = if builder.runs() { rows } else { GLANCE };
    let mut bookmarks = HashMap::new();
    let (mut passes, mut others, mut kinds) = (0, 0, 0);
    while answered {
        passes += 1;
        let known = asked.questions.borrow().len() + asked.writings.borrow().len();
        others += usize::from(known > std::mem::replace(&mut kinds, known));
        let span = asked.questions.borrow().last().map(|question| question.span);
        let span = span.or_else(|| asked.writings.borrow().last().map(|writing| writing.span));
        if let (true, Some(span)) = (others > OTHERS, span) {
            let message = "what is asked here is another question each time that the rows are made";
            let help = "policies and functions that ask are made outside of code that makes rows";
            return Err(Box::new(Diagnostic::error("E0190", span, message).help(help)));
        }
        if let (true, Some(span)) = (passes > PASSES, span) {
            return fault("E0331", span, format!("{PASSES} answers have led to more questions, one after another"));
        }
        if !asked.pass(eval, (rows, most), &mut bookmarks, f)? {
            return Ok(settled);
        }
        settled.asked = true;
        let (waiting, unwritten) = asked.take_waiting();
        let unasked = asked.take_unasked();
        if waiting.is_empty() && unwritten.is_empty() && unasked.is_empty() {
            return Ok(settled);
        }
        *eval.tally.borrow_mut() = tally.clone();
        let count = asked.questions.borrow().len();
        for number in 0..count {
            let of: Vec<&AskedOf> = waiting.iter().filter(|of| of.question == number).collect();
            if of.is_empty() {
                continue;
            }
            let question = asked.questions.borrow()[number].clone();
            if question.nets().any(|net| builder.trains(net)) {
                let message = "what is asked here of the policy that trains is not asked about what the stage draws";
                let help =
                    "ask about what it drew: `rows |> sample(q) |> filter(..)`; an evaluation also in its last `map`";
                return Err(Box::new(Diagnostic::error("E0190", question.span, message).help(help)));
            }
            let data = Data::held(of.iter().map(|of| of.row()).collect());
            let outputs = [(SAID.to_string(), question.kind())];
            // It is no evaluation of the stage that is being built, but one before it.
            let moving = builder.state.borrow_mut().moving.take();
            let stage = builder.named("asked", || {
                metric::evaluate(builder, eval, &data, question.graph, &[], &outputs, question.span)
            });
            builder.state.borrow_mut().moving = moving;
            let stage = stage?;
            settled.drawn.stages.push(stage);
            let hash = builder.state.borrow().graph.get(stage).hash;
            let known = || builder.world.answered(&hash.to_string()).filter(|known| known.len() == of.len());
            let known = match builder.runs() && !after_draws {
                true => known().or_else(|| builder.runs_now(stage).then(known).flatten()),
                false => None,
            };
            builder.state.borrow_mut().graph.asks(stage, known.is_none());
            match known {
                Some(known) => of.iter().zip(known).for_each(|(of, numbers)| asked.said.borrow_mut().tell(of, numbers)),
                None => answered = false,
            }
        }
        let (stages, is_answered) = asking::settled(builder, &asked, &unasked, after_draws);
        settled.drawn.stages.extend(stages);
        answered &= is_answered;
        let writings = asked.writings.borrow().clone();
        for (number, writing) in writings.iter().enumerate() {
            let of: Vec<&WriteOf> = unwritten.iter().filter(|of| of.writing == number).collect();
            if of.is_empty() {
                continue;
            }
            let sources: Option<Vec<Source>> = writing.readers.iter().map(|reader| reader.source.clone()).collect();
            let Some(sources) = sources else {
                let message = "what the policy that trains is to write is asked for before the stage draws";
                return fault("E0190", writing.span, message);
            };
            let drawer = Drawer { builder, generation: &writing.generation, sources: &sources, span: writing.span };
            let (asks, keys) = of.iter().map(|of| (of.ask.clone(), of.key)).unzip();
            let (stage, hash, mut replies) =
                builder.named("written", || drawer.drawn(asks, Some(keys), writing.wanted.clone()));
            settled.drawn.stages.push(stage);
            if replies.is_none() && builder.runs() && !after_draws && builder.runs_now(stage) {
                replies = builder.world.drawn(&hash.to_string()).filter(|replies| replies.len() == of.len());
                if replies.is_some() {
                    builder.state.borrow_mut().graph.is_drawn(stage);
                }
            }
            match replies.filter(|_| !after_draws) {
                Some(replies) => {
                    of.iter().zip(replies).for_each(|(of, replies)| asked.written.borrow_mut().tell(of, replies));
                }
                None => answered = false,
            }
        }
    }
    asked.stands_in.set(true);
    asked.in_moment.set(is_live);
    let passed = asked.pass(eval, (rows, most), &mut HashMap::new(), f);
    asked.stands_in.set(false);
    asked.in_moment.set(false);
    settled.asked |= passed?;
    settled.drawn.stand_in = settled.asked;
    if settled.asked && !is_live {
        builder.state.borrow_mut().stand_in = true;
    }
    *eval.tally.borrow_mut() = tally;
    Ok(settled)
}
