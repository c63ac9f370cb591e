//! The types of expressions.

use super::axes::{Axes, Axis, Origin};
use crate::program::ItemRef;
use std::fmt;
use std::rc::Rc;

/// A type. `Unknown` is every type at once: nothing is reported about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Unknown,
    Int,
    Float,
    Bool,
    Text,
    Unit,
    /// A value for every index of some axes (at least one); the element is not itself `Each`.
    Each(Rc<Type>, Axes),
    Record(Rc<Record>),
    /// Parts, some with a name: `(state, reward: 1, done: true)`.
    Tuple(Rc<Vec<(Option<String>, Type)>>),
    List(Rc<Type>),
    Option(Rc<Type>),
    Map(Rc<Type>, Rc<Type>),
    Data(Rc<Type>),
    Dist(Rc<Type>),
    Range,
    Prompt,
    Chat,
    Tokens,
    /// The field it answers, and whose length its `time` has.
    Reply(Option<String>, Option<Origin>),
    Net(Rc<Net>),
    Weights,
    Fn(Fun),
    /// The losses that it sums, by name.
    Loss(Vec<LossUse>),
    /// The rewards that it sums.
    Reward(Vec<LossUse>),
    Optimizer,
    Schedule,
    Sampler,
    Env,
    /// What stands at the right of `policy with ..`, `lora(..)`, `head()`, by its declaration.
    Patch(Option<ItemRef>),
    /// A type variable of a signature, by name.
    Var(String),
}

/// A record: fields with their types, in order.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Record {
    /// `None` for `{ a: 1 }`.
    pub name: Option<String>,
    pub fields: Vec<(String, Type)>,
    /// Whether fields may be there that are not listed.
    pub open: bool,
}

impl Record {
    /// Whether it has fields `each sample`: several replies to one prompt.
    pub fn is_group(&self) -> bool {
        self.fields.iter().any(|(_, ty)| matches!(ty, Type::Each(_, axes) if axes.has("sample")))
    }

    /// The fields of one sample of a group.
    pub fn of_a_sample(&self) -> Record {
        let one = |ty: &Type| match ty {
            Type::Each(of, axes) if axes.has("sample") && axes.0.len() == 1 => (**of).clone(),
            other => other.clone(),
        };
        Record { fields: self.fields.iter().map(|(name, ty)| (name.clone(), one(ty))).collect(), ..self.clone() }
    }
}

/// What a net offers. `Net` itself is the interface of all.
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    pub kind: NetKind,
    /// The declaration, where it is known.
    pub item: Option<ItemRef>,
    pub name: String,
    /// Values of the declaration's parameters that are sizes, by name.
    pub sizes: Vec<(String, super::size::Size)>,
    /// Whether it has `value` or `score`; `None` where that is not known.
    pub scores: Option<bool>,
    /// What was put on it by `with`.
    pub patches: Vec<ItemRef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetKind {
    Net,
    Policy,
    Scorer,
}

/// A loss with the settings of its use.
#[derive(Clone, Debug, PartialEq)]
pub struct LossUse {
    pub name: String,
    /// The declaration; `None` for a lambda or a loss about which nothing is known.
    pub item: Option<ItemRef>,
    /// Settings that were given, with their types and places.
    pub given: Vec<(String, Type, align_syntax::span::Span)>,
    pub at: align_syntax::span::Span,
}

/// A function.
#[derive(Clone, Debug, PartialEq)]
pub enum Fun {
    /// A declaration of a file.
    Item(ItemRef),
    /// A row of the table of builtins.
    Builtin(&'static str),
    /// A lambda, by its number in the checker.
    Closure(usize),
    /// Only the types are known.
    Typed(Rc<(Type, Type)>),
    /// `.answer`, `.1.reply`: the fields it reads in turn.
    Accessor(Vec<String>),
    /// A method of a net, and the net.
    Method(Rc<Net>, String),
    /// `grad(f)`
    Grad(Rc<Type>),
}

impl Type {
    pub fn list(of: Type) -> Type {
        Type::List(Rc::new(of))
    }

    pub fn data(of: Type) -> Type {
        Type::Data(Rc::new(of))
    }

    pub fn option(of: Type) -> Type {
        Type::Option(Rc::new(of))
    }

    pub fn pair(parts: Vec<Type>) -> Type {
        Type::Tuple(Rc::new(parts.into_iter().map(|t| (None, t)).collect()))
    }

    pub fn net(kind: NetKind) -> Type {
        let scores = (kind == NetKind::Scorer).then_some(true);
        let name = kind.to_string();
        Type::Net(Rc::new(Net { kind, item: None, name, sizes: Vec::new(), scores, patches: Vec::new() }))
    }

    /// The type for every index of some more axes. Shared axes are kept as they are.
    pub fn each(self, axes: Axes) -> Type {
        if axes.is_empty() {
            return self;
        }
        match self {
            Type::Unknown => Type::Unknown,
            Type::Each(element, own) => {
                let all = axes.0.into_iter().fold(own, |all, axis| all.with(axis));
                Type::Each(element, all)
            }
            element => Type::Each(Rc::new(element), axes),
        }
    }

    pub fn tensor(axes: Axes) -> Type {
        Type::Float.each(axes)
    }

    /// The element and the axes; a type without axes is its own element.
    pub fn split(&self) -> (Type, Axes) {
        match self {
            Type::Each(element, axes) => ((**element).clone(), axes.clone()),
            other => (other.clone(), Axes::default()),
        }
    }

    pub fn element(&self) -> &Type {
        match self {
            Type::Each(element, _) => element,
            other => other,
        }
    }

    pub fn axes(&self) -> Axes {
        self.split().1
    }

    /// A number or Bool, with or without axes.
    pub fn is_numeric(&self) -> bool {
        matches!(self.element(), Type::Int | Type::Float | Type::Bool)
    }

    pub fn is_unknown(&self) -> bool {
        match self {
            Type::Unknown | Type::Var(_) => true,
            Type::Each(element, _) => element.is_unknown(),
            _ => false,
        }
    }

    /// What one item of a stream, a list or a group is.
    pub fn item(&self) -> Option<Type> {
        match self {
            Type::List(of) | Type::Data(of) => Some((**of).clone()),
            Type::Range => Some(Type::Int),
            Type::Each(of, axes) if axes.0.len() == 1 => Some((**of).clone()),
            _ => None,
        }
    }

    pub fn field(&self, name: &str) -> Option<&Type> {
        match self {
            Type::Record(record) => record.get(name),
            _ => None,
        }
    }

    /// Changes axes all over the type.
    pub fn map_axes(&self, change: &dyn Fn(&Axis) -> Axis) -> Type {
        match self {
            Type::Each(element, axes) => {
                Type::Each(Rc::new(element.map_axes(change)), Axes(axes.0.iter().map(change).collect()))
            }
            Type::Tuple(parts) => {
                Type::Tuple(Rc::new(parts.iter().map(|(n, t)| (n.clone(), t.map_axes(change))).collect()))
            }
            Type::Record(record) => Type::Record(Rc::new(Record {
                fields: record.fields.iter().map(|(n, t)| (n.clone(), t.map_axes(change))).collect(),
                ..(**record).clone()
            })),
            Type::List(of) => Type::list(of.map_axes(change)),
            other => other.clone(),
        }
    }
}

impl Record {
    pub fn get(&self, name: &str) -> Option<&Type> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(n, _)| n.as_str())
    }

    /// With a field, in the place of one of that name.
    pub fn with(mut self, name: &str, ty: Type) -> Record {
        match self.fields.iter_mut().find(|(n, _)| n == name) {
            Some(field) => field.1 = ty,
            None => self.fields.push((name.to_string(), ty)),
        }
        self
    }
}

impl fmt::Display for NetKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            NetKind::Net => "Net",
            NetKind::Policy => "Policy",
            NetKind::Scorer => "Scorer",
        })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Type::Unknown => f.write_str("?"),
            Type::Int => f.write_str("Int"),
            Type::Float => f.write_str("Float"),
            Type::Bool => f.write_str("Bool"),
            Type::Text => f.write_str("Text"),
            Type::Unit => f.write_str("()"),
            Type::Each(element, axes) => match (&**element, &axes.0[..]) {
                (Type::Float, _) => write!(f, "Tensor[{axes}]"),
                (element, [axis]) => write!(f, "{element} each {}", axis.name),
                (element, _) => write!(f, "{element} each [{axes}]"),
            },
            Type::Record(record) => record.fmt(f),
            Type::Tuple(parts) => {
                f.write_str("(")?;
                for (i, (name, ty)) in parts.iter().enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    match name {
                        Some(name) => write!(f, "{comma}{name}: {ty}")?,
                        None => write!(f, "{comma}{ty}")?,
                    }
                }
                f.write_str(")")
            }
            Type::List(of) => write!(f, "List[{of}]"),
            Type::Option(of) => write!(f, "Option[{of}]"),
            Type::Map(key, value) => write!(f, "Map[{key}, {value}]"),
            Type::Data(of) => write!(f, "Data[{of}]"),
            Type::Dist(of) => write!(f, "Dist[{of}]"),
            Type::Range => f.write_str("a range"),
            Type::Prompt => f.write_str("Prompt"),
            Type::Chat => f.write_str("Chat"),
            Type::Tokens => f.write_str("Tokens"),
            Type::Reply(Some(prompt), _) => write!(f, "Reply[{prompt}]"),
            Type::Reply(None, _) => f.write_str("Reply"),
            Type::Net(net) => f.write_str(&net.name),
            Type::Weights => f.write_str("Weights"),
            Type::Fn(Fun::Typed(types)) => write!(f, "{} -> {}", types.0, types.1),
            Type::Fn(Fun::Accessor(path)) => write!(f, ".{}", path.join(".")),
            Type::Fn(_) => f.write_str("a function"),
            Type::Loss(_) => f.write_str("a loss"),
            Type::Reward(_) => f.write_str("Reward"),
            Type::Optimizer => f.write_str("Optimizer"),
            Type::Schedule => f.write_str("Schedule"),
            Type::Sampler => f.write_str("Sampler"),
            Type::Env => f.write_str("an environment"),
            Type::Patch(_) => f.write_str("a patch of a policy"),
            Type::Var(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(name) = &self.name {
            return f.write_str(name);
        }
        let fields: Vec<String> = self.fields.iter().map(|(n, t)| format!("{n}: {t}")).collect();
        let more = if self.open { ", .." } else { "" };
        write!(f, "{{ {}{more} }}", fields.join(", "))
    }
}
