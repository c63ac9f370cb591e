//! Types as they are written.

use super::axes::{Axes, Axis, AxisKind, Origin};
use super::scope::Scope;
use super::size::Size;
use super::types::{Fun, NetKind, Record, Type};
use super::{Checker, net};
use crate::program::ItemRef;
use align_syntax::ast::{self, DefKind, Expr, ExprKind, InfixOp, ItemKind, TypeArg, TypeKind};
use align_syntax::diag::{Diagnostic, did_you_mean};
use std::rc::Rc;

/// Types that the language has under a name, but for those with arguments.
const NAMED: &[(&str, Type)] = &[
    ("Int", Type::Int),
    ("Float", Type::Float),
    ("Bool", Type::Bool),
    ("Text", Type::Text),
    ("Prompt", Type::Prompt),
    ("Chat", Type::Chat),
    ("Tokens", Type::Tokens),
    ("Weights", Type::Weights),
    ("Optimizer", Type::Optimizer),
    ("Schedule", Type::Schedule),
    ("Sampler", Type::Sampler),
    ("Env", Type::Env),
    ("Reward", Type::Reward(Vec::new())),
];

/// Other types of the language and its library, of which the checker knows the name alone.
/// Records of what policies drew, which have more fields than they declare: those of the rows that were drawn for, and what was said of the draws.
const DRAWN: [&str; 3] = ["Rollout", "Scored", "Valued"];

const OTHERS: &[&str] = &[
    "Tensor",
    "Reply",
    "Group",
    "List",
    "Option",
    "Map",
    "Data",
    "Dist",
    "Policy",
    "Scorer",
    "Net",
    "Loss",
    "Any",
    "Call",
    "Solution",
    "Rollout",
    "Episode",
    "Tree",
    "Step",
    "Task",
    "Module",
    "Problem",
    "Running",
    "Scored",
    "Pair",
    "Demo",
    "Rated",
    "Image",
    "ImagePair",
    "Tokenizer",
    "Grammar",
    "Record",
    "Objective",
    "Steps",
];

impl<'p> Checker<'p> {
    /// A type as written. What is not known of it is `Unknown`.
    pub fn ty(&mut self, ty: &'p ast::Type, scope: &Scope) -> Type {
        match &ty.kind {
            TypeKind::Named { name, args } => self.named(name, args, scope),
            TypeKind::Axes(args) => Type::tensor(self.axes_written(args, scope)),
            TypeKind::Shape(fields) => Type::Record(Rc::new(self.record(None, fields, scope))),
            TypeKind::Tuple(parts) if parts.is_empty() => Type::Unit,
            TypeKind::Tuple(parts) if parts.len() == 1 => self.ty(&parts[0], scope),
            TypeKind::Tuple(parts) => Type::pair(parts.iter().map(|p| self.ty(p, scope)).collect()),
            TypeKind::Each(of, axes) => {
                let element = self.ty(of, scope);
                element.each(self.axes_written(axes, scope))
            }
            TypeKind::Fn(from, to) => {
                let types = (self.ty(from, scope), self.ty(to, scope));
                Type::Fn(Fun::Typed(Rc::new(types)))
            }
        }
    }

    fn named(&mut self, name: &'p ast::Name, args: &'p [TypeArg], scope: &Scope) -> Type {
        if let Some((_, ty)) = NAMED.iter().find(|(n, _)| *n == name.text) {
            return ty.clone();
        }
        let of = |checker: &mut Self, i: usize| match args.get(i) {
            Some(TypeArg::Type(t)) => checker.ty(t, scope),
            _ => Type::Unknown,
        };
        match name.text.as_str() {
            "Tensor" => Type::tensor(self.axes_written(args, scope)),
            "Reply" => match args.first() {
                Some(TypeArg::Type(ast::Type { kind: TypeKind::Named { name, .. }, .. })) => {
                    Type::Reply(Some(name.text.clone()), None)
                }
                _ => Type::Reply(None, None),
            },
            "List" => Type::list(of(self, 0)),
            "Option" => Type::option(of(self, 0)),
            "Data" => Type::data(of(self, 0)),
            "Dist" => Type::Dist(Rc::new(of(self, 0))),
            "Map" => Type::Map(Rc::new(of(self, 0)), Rc::new(of(self, 1))),
            "Policy" => Type::net(NetKind::Policy),
            "Scorer" => Type::net(NetKind::Scorer),
            "Net" => Type::net(NetKind::Net),
            "Group" => {
                let item = if args.is_empty() { Type::Unknown } else { of(self, 0) };
                let item = match item {
                    Type::Record(record) => Record { open: true, ..(*record).clone() },
                    _ => sampled_item(),
                };
                Type::Record(Rc::new(item)).each(Axes(vec![Axis::open("sample")]))
            }
            text if scope.body.types.iter().any(|t| &**t == text) => Type::Var(text.to_string()),
            text if text.starts_with(char::is_lowercase) && !text.contains('.') => {
                // A net's name is the type of its weights; other words are type variables.
                match self.program.lookup(scope.body.file, text).and_then(|at| self.def(at)) {
                    Some(def) if def.kind == DefKind::Net => self.item_type(name, text, scope),
                    _ => Type::Var(text.to_string()),
                }
            }
            text => self.item_type(name, text, scope),
        }
    }

    /// A record, or the type of a net's weights.
    fn item_type(&mut self, name: &ast::Name, text: &str, scope: &Scope) -> Type {
        let file = scope.body.file;
        if let Some(at) = self.program.lookup(file, text) {
            return match &self.program.item(at).kind {
                ItemKind::Record { .. } => self.record_of(at),
                ItemKind::Def(def) if def.kind == DefKind::Net => {
                    let net = net::bare(self, at, text);
                    Type::Net(Rc::new(net))
                }
                _ => Type::Unknown,
            };
        }
        let known = text.contains('.') || OTHERS.contains(&text) || self.is_imported(file, text);
        if !known {
            let names: Vec<&str> = NAMED.iter().map(|(n, _)| *n).chain(OTHERS.iter().copied()).collect();
            let own: Vec<&str> = self.program.names(file).filter(|n| n.starts_with(char::is_uppercase)).collect();
            let error = Diagnostic::error("E0108", name.span, format!("there is no type `{text}`"));
            let near = did_you_mean(text, own.into_iter().chain(names));
            self.report(match near {
                Some(near) => error.meant(near),
                None => error.help(format!("A type of your own is a record: `record {text} {{ .. }}`.")),
            });
        }
        Type::Unknown
    }

    /// The type of a record's declaration.
    pub fn record_of(&mut self, at: ItemRef) -> Type {
        if let Some(known) = self.records.get(&at) {
            return known.clone();
        }
        // A record that holds itself knows nothing of the inner one.
        self.records.insert(at, Type::Unknown);
        let program = self.program;
        let ItemKind::Record { name, fields, generics } = &program.item(at).kind else { return Type::Unknown };
        let scope = Scope::new(super::scope::Body::new(at.file, None));
        let mut record = self.record(Some(name.text.clone()), fields, &scope);
        if !generics.is_empty() {
            record.fields.iter_mut().for_each(|f| f.1 = Type::Unknown);
        }
        record.open = DRAWN.contains(&name.text.as_str());
        let ty = Type::Record(Rc::new(record));
        self.records.insert(at, ty.clone());
        ty
    }

    fn record(&mut self, name: Option<String>, fields: &'p [ast::Field], scope: &Scope) -> Record {
        let fields = fields.iter().map(|f| (f.name.text.clone(), self.ty(&f.ty, scope))).collect();
        Record { name, fields, open: false }
    }

    /// Axes of a type: names, names with sizes, packs.
    pub fn axes_written(&mut self, args: &'p [TypeArg], scope: &Scope) -> Axes {
        let mut axes = Axes::default();
        for arg in args {
            match arg {
                TypeArg::Pack(name) => {
                    axes = scope.body.axes_of(&name.text).into_iter().fold(axes, Axes::with);
                }
                TypeArg::Sized(name, size) => {
                    let size = self.size_of(size, scope);
                    axes = axes.with(Axis::new(name.text.as_str(), AxisKind::Fixed(size)));
                }
                TypeArg::Type(ast::Type { kind: TypeKind::Named { name, .. }, .. }) => {
                    axes = scope.body.axes_of(&name.text).into_iter().fold(axes, Axes::with);
                }
                TypeArg::Type(_) => {}
            }
        }
        axes
    }

    /// A size as an expression over the parameters of a net.
    pub fn size_of(&mut self, e: &'p Expr, scope: &Scope) -> Option<Size> {
        match &*e.kind {
            ExprKind::Int(n) => Some(Size::constant(*n)),
            ExprKind::Paren(inner) => self.size_of(inner, scope),
            ExprKind::Call(callee, args) if matches!(&*callee.kind, ExprKind::Word(word) if word == "wide") => {
                self.size_of(args.positional.first()?, scope)
            }
            ExprKind::Word(name) => {
                let var = scope.get(name)?;
                (matches!(var.kind, super::scope::VarKind::Param) && matches!(var.ty, Type::Int))
                    .then(|| Size::param(name))
            }
            ExprKind::Infix { op, left, right, .. } => {
                let (left, right) = (self.size_of(left, scope)?, self.size_of(right, scope)?);
                match op {
                    InfixOp::Add => left.add(&right),
                    InfixOp::Sub => left.sub(&right),
                    InfixOp::Mul => left.mul(&right),
                    InfixOp::Div => left.div(&right),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// Whether the language or its library has a type of this name.
pub fn is_known(name: &str) -> bool {
    NAMED.iter().any(|(n, _)| *n == name) || OTHERS.contains(&name)
}

/// What a group holds when nothing more is said: what `sample` and `score` make.
fn sampled_item() -> Record {
    let fields = vec![
        ("prompt".to_string(), Type::Prompt),
        ("reply".to_string(), Type::Reply(Some("prompt".to_string()), None)),
        ("logp".to_string(), Type::tensor(Axes(vec![Axis::open("time")]))),
        ("finished".to_string(), Type::Bool),
    ];
    Record { name: Some("Group".to_string()), fields, open: true }
}

/// Gives the ragged axes of a value their origin: the value at this place (`pair.chosen`).
pub fn with_origin(ty: Type, key: &str, shown: &str) -> Type {
    let origin = |key: &str, shown: &str| Origin { key: key.into(), shown: shown.into() };
    match ty {
        Type::Reply(prompt, None) => Type::Reply(prompt, Some(origin(key, shown))),
        Type::Each(element, axes) if matches!(*element, Type::Reply(_, None)) => {
            Type::Each(Rc::new(with_origin((*element).clone(), key, shown)), axes)
        }
        other => other,
    }
}

/// The origin of the `time` of a record's plain fields (`x.logp`): its only reply, if it has exactly one; itself, if none.
pub fn time_of_record(record: &Record, key: &str, shown: &str) -> Option<Origin> {
    let replies: Vec<&str> =
        record.fields.iter().filter(|(_, t)| matches!(t.element(), Type::Reply(..))).map(|(n, _)| n.as_str()).collect();
    match (replies[..].first(), replies.len()) {
        (None, _) if !record.open => Some(Origin { key: format!("{key}.time").into(), shown: shown.into() }),
        (Some(reply), 1) => Some(Origin { key: format!("{key}.{reply}").into(), shown: (*reply).into() }),
        _ => None,
    }
}
