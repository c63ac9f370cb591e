//! Whether a value of one type may stand where another is expected.

use super::axes::Axes;
use super::types::{Fun, NetKind, Type};

/// How a value fits.
#[derive(Clone, Debug, PartialEq)]
pub enum Fit {
    Yes,
    /// The function is applied for every index of these axes.
    Lifted(Axes),
    /// Nothing is known of one of the two.
    Unknown,
    No,
    /// It lacks these axes.
    LacksAxes(Vec<std::rc::Rc<str>>),
    /// A record that lacks these fields.
    LacksFields(Vec<String>),
}

/// Coarse kinds: two types of different kinds are never the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
    Record,
    Net,
    Many,
    Function,
    Other,
}

fn kind(ty: &Type) -> Kind {
    let element = match ty {
        // A group is many and one.
        Type::Each(..) if !ty.is_numeric() => return Kind::Other,
        other => other.element(),
    };
    match element {
        Type::Int | Type::Float | Type::Bool => Kind::Number,
        Type::Text | Type::Prompt | Type::Reply(..) | Type::Tokens => Kind::Text,
        Type::Record(_) => Kind::Record,
        Type::Net(_) => Kind::Net,
        Type::List(_) | Type::Data(_) => Kind::Many,
        Type::Fn(_) => Kind::Function,
        _ => Kind::Other,
    }
}

/// Whether the two certainly differ in kind: a Text and a number, a record and a list.
pub fn differ(a: &Type, b: &Type) -> bool {
    let (ka, kb) = (kind(a), kind(b));
    // A net and a number meet in arithmetic, a function and a number in settings, a list where axes are expected.
    let never = [
        (Kind::Number, Kind::Text),
        (Kind::Number, Kind::Record),
        (Kind::Text, Kind::Record),
        (Kind::Text, Kind::Net),
        (Kind::Record, Kind::Net),
        (Kind::Text, Kind::Many),
    ];
    never.contains(&(ka, kb)) || never.contains(&(kb, ka))
}

/// How `actual` fits a parameter of type `wanted`.
pub fn fit(actual: &Type, wanted: &Type) -> Fit {
    if wanted.is_unknown() || actual.is_unknown() {
        return Fit::Unknown;
    }
    let (element, axes) = actual.split();
    let (want, want_axes) = wanted.split();
    // Weights are numbers in tensor code, and a net where one is called.
    let weights = |a: &Type, b: &Type| matches!(a, Type::Weights | Type::Net(_)) && matches!(b, Type::Float);
    if weights(&element, &want) && !want_axes.is_empty() || weights(&want, &element) && !axes.is_empty() {
        return Fit::Unknown;
    }
    match element_fit(&element, &want) {
        Fit::Yes => {}
        other => return other,
    }
    let lacks = want_axes.beyond(&axes, &[]);
    if !lacks.is_empty() {
        // A number without axes fits every tensor.
        return if axes.is_empty() && actual.is_numeric() { Fit::Yes } else { Fit::LacksAxes(lacks) };
    }
    let lifted = axes.without(&want_axes.names().cloned().collect::<Vec<_>>());
    if lifted.is_empty() { Fit::Yes } else { Fit::Lifted(lifted) }
}

fn element_fit(actual: &Type, wanted: &Type) -> Fit {
    let yes = |ok: bool| if ok { Fit::Yes } else { Fit::No };
    match (actual, wanted) {
        // A Float where an Int is needed must be whole; literals are looked at where they stand.
        (Type::Int | Type::Bool | Type::Float, Type::Float | Type::Int) => Fit::Yes,
        (Type::Bool, Type::Bool) => Fit::Yes,
        // A number counts as true where it is not 0 only if it says so: `x > 0`.
        (Type::Int | Type::Float, Type::Bool) => Fit::No,
        (Type::Text | Type::Prompt | Type::Tokens | Type::Reply(..), Type::Prompt | Type::Tokens) => Fit::Yes,
        (Type::Text | Type::Prompt, Type::Text | Type::Reply(..)) | (Type::Reply(..), Type::Reply(..)) => Fit::Yes,
        (Type::Tokens, Type::Reply(..)) => Fit::Yes,
        (Type::Reply(..), Type::Text) => Fit::Yes,
        (Type::Net(a), Type::Net(b)) => match (b.kind, a.scores) {
            (NetKind::Scorer, Some(false)) => Fit::No,
            (NetKind::Scorer, None) => Fit::Unknown,
            _ => Fit::Yes,
        },
        (Type::Record(a), Type::Record(b)) => {
            let lacks: Vec<String> = b.names().filter(|n| a.get(n).is_none() && !a.open).map(str::to_string).collect();
            if !lacks.is_empty() {
                return Fit::LacksFields(lacks);
            }
            match b.fields.iter().any(|(n, want)| a.get(n).is_some_and(|have| differ(have, want))) {
                true => Fit::No,
                false => Fit::Yes,
            }
        }
        (Type::Reply(..), Type::Data(_)) => Fit::Unknown,
        // A stream or list is gone through item by item.
        (Type::List(_) | Type::Data(_), _) if !matches!(wanted, Type::Text | Type::Net(_)) => Fit::Unknown,
        // A setting may be a field of the item, or a function of it.
        (Type::Fn(Fun::Accessor(_) | Fun::Closure(_) | Fun::Item(_)), _) => Fit::Unknown,
        (Type::Fn(_), Type::Int | Type::Text) => Fit::No,
        (Type::Int | Type::Float | Type::Bool | Type::Text | Type::Record(_), Type::Net(_)) => Fit::No,
        (Type::Int | Type::Float | Type::Bool, Type::List(_) | Type::Data(_) | Type::Optimizer | Type::Fn(_)) => {
            Fit::No
        }
        (Type::Text, Type::Schedule | Type::Optimizer | Type::Fn(_)) => Fit::No,
        (Type::Schedule | Type::Loss(_) | Type::Reward(_), Type::Optimizer) => Fit::No,
        (Type::Optimizer | Type::Loss(_), Type::Schedule | Type::Float | Type::Int) => Fit::No,
        (Type::Net(_), Type::Int | Type::Float | Type::Bool | Type::Text | Type::Prompt | Type::Reply(..)) => Fit::No,
        (Type::Option(_), Type::Int | Type::Float | Type::Text) => Fit::No,
        _ => yes(!differ(actual, wanted)),
    }
}

/// Why a value does not fit, where there is a usual cause: the fix.
pub fn advice(actual: &Type, wanted: &Type) -> Option<String> {
    let text = match (actual.element(), wanted.element()) {
        (Type::Int | Type::Float, Type::Bool) => "Compare it: `x > 0`.",
        (Type::Option(_), _) => "It may be absent. Say what holds then: `x |> or_else(0)`.",
        (Type::Net(_), Type::Net(net)) if net.kind == NetKind::Scorer => "A head scores: `policy with head()`.",
        (Type::Text, Type::Int | Type::Float) => "`number(text)` reads a number.",
        _ => return None,
    };
    Some(text.to_string())
}

/// What two branches, or the elements of a list, have in common.
pub fn join(a: &Type, b: &Type) -> Type {
    let ((ea, xa), (eb, xb)) = (a.split(), b.split());
    if a.is_unknown() || b.is_unknown() {
        return Type::Unknown;
    }
    let element = match (&ea, &eb) {
        (Type::Bool, Type::Bool) => Type::Bool,
        (Type::Int | Type::Bool, Type::Int | Type::Bool) => Type::Int,
        (Type::Int | Type::Float | Type::Bool, Type::Int | Type::Float | Type::Bool) => Type::Float,
        (Type::Reply(p, o), Type::Reply(q, r)) => {
            Type::Reply(p.clone().filter(|_| p == q), o.clone().filter(|_| o == r))
        }
        (Type::Net(p), Type::Net(q)) if p != q => Type::net(if p.kind == q.kind { p.kind } else { NetKind::Net }),
        (Type::Record(p), Type::Record(q)) if p != q => {
            let mut common = (**p).clone();
            common.open = true;
            common.name = common.name.filter(|_| p.name == q.name);
            common.fields.retain(|(n, _)| q.get(n).is_some());
            common.fields.iter_mut().for_each(|(n, t)| *t = join(t, q.get(n).expect("kept for being there")));
            Type::Record(std::rc::Rc::new(common))
        }
        (Type::List(p), Type::List(q)) => match (&**p, &**q) {
            // An empty list is a list of anything.
            (Type::Unknown, known) | (known, Type::Unknown) => Type::list(known.clone()),
            _ => Type::list(join(p, q)),
        },
        (Type::Tuple(p), Type::Tuple(q)) if p.len() == q.len() => Type::Tuple(std::rc::Rc::new(
            p.iter().zip(q.iter()).map(|((n, a), (_, b))| (n.clone(), join(a, b))).collect(),
        )),
        (a, b) if a == b => a.clone(),
        _ => return Type::Unknown,
    };
    match xa.union(&xb) {
        Ok(axes) => element.each(axes),
        Err(_) => Type::Unknown,
    }
}
