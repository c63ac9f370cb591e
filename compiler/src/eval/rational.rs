//! Exact numbers: what an expression in a text is worth, as a fraction of integers.

use super::call::{Call, wrong};
use super::value::{Foreign, Value};
use super::{Eval, Res, fault};
use align_syntax::ast::InfixOp;
use align_syntax::span::Span;
use std::any::Any;
use std::cmp::Ordering;
use std::rc::Rc;

/// A fraction in lowest terms; what stands below is above 0. Both parts have at most 38 digits: what goes beyond has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rational {
    above: i128,
    below: i128,
}

/// Bytes of a text that is read as an expression, and how deep its parentheses may be.
const LONGEST: usize = 4096;
const DEEPEST: usize = 100;

impl Rational {
    pub fn new(above: i128, below: i128) -> Option<Rational> {
        if below == 0 || above == i128::MIN || below == i128::MIN {
            return None;
        }
        let (mut a, mut b) = (above.abs(), below.abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let by = a * below.signum();
        Some(Rational { above: above / by, below: below / by })
    }

    fn whole(n: i64) -> Rational {
        Rational { above: n.into(), below: 1 }
    }

    fn add(self, other: Rational, sign: i128) -> Option<Rational> {
        let left = self.above.checked_mul(other.below)?;
        let right = other.above.checked_mul(self.below)?.checked_mul(sign)?;
        Rational::new(left.checked_add(right)?, self.below.checked_mul(other.below)?)
    }

    fn times(self, other: Rational) -> Option<Rational> {
        Rational::new(self.above.checked_mul(other.above)?, self.below.checked_mul(other.below)?)
    }

    fn over(self, other: Rational) -> Option<Rational> {
        Rational::new(self.above.checked_mul(other.below)?, self.below.checked_mul(other.above)?)
    }

    fn minus(self) -> Rational {
        Rational { above: -self.above, below: self.below }
    }

    fn to_float(self) -> f64 {
        self.above as f64 / self.below as f64
    }

    /// An Int where it is one, so that it is equal to others.
    fn value(self) -> Value {
        match i64::try_from(self.above) {
            Ok(n) if self.below == 1 => Value::Int(n),
            _ => Value::Foreign(Rc::new(self)),
        }
    }
}

impl Ord for Rational {
    fn cmp(&self, other: &Rational) -> Ordering {
        let (mut a, mut b) = (*self, *other);
        let mut order = Ordering::Less;
        // By whole parts, then by what the rests are turned over: nothing grows.
        loop {
            match a.above.div_euclid(a.below).cmp(&b.above.div_euclid(b.below)) {
                Ordering::Equal => {}
                found => return if order == Ordering::Less { found } else { found.reverse() },
            }
            let rests = (a.above.rem_euclid(a.below), b.above.rem_euclid(b.below));
            match rests {
                (0, 0) => return Ordering::Equal,
                (0, _) => return order,
                (_, 0) => return order.reverse(),
                (x, y) => {
                    (a, b) = (Rational { above: a.below, below: x }, Rational { above: b.below, below: y });
                    order = order.reverse();
                }
            }
        }
    }
}

impl PartialOrd for Rational {
    fn partial_cmp(&self, other: &Rational) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Foreign for Rational {
    fn kind(&self) -> String {
        "Rational".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The fraction that a foreign value is.
fn fraction(value: &Value) -> Option<Rational> {
    match value {
        Value::Foreign(foreign) => foreign.as_any().downcast_ref().copied(),
        _ => None,
    }
}

/// A fraction as a Float; `None` for other values.
pub(crate) fn float(foreign: &Rc<dyn Foreign>) -> Option<f64> {
    foreign.as_any().downcast_ref::<Rational>().map(|x| x.to_float())
}

/// Both as fractions, if one is one and the other is exact.
fn both(left: &Value, right: &Value) -> Option<(Rational, Rational)> {
    let one = |value: &Value| match value {
        Value::Int(n) => Some(Rational::whole(*n)),
        Value::Bool(b) => Some(Rational::whole(i64::from(*b))),
        value => fraction(value),
    };
    if !matches!(left, Value::Foreign(_)) && !matches!(right, Value::Foreign(_)) {
        return None;
    }
    Some((one(left)?, one(right)?))
}

/// Whether two numbers are the same, where one is a fraction and the other is exact.
pub(crate) fn equal(left: &Value, right: &Value) -> Option<bool> {
    both(left, right).map(|(a, b)| a == b)
}

/// An operator on exact numbers; `None` for other values.
pub(crate) fn operator(op: InfixOp, left: &Value, right: &Value, span: Span) -> Option<Res<Value>> {
    let (a, b) = both(left, right)?;
    let made = match op {
        InfixOp::Eq => return Some(Ok(Value::Bool(a == b))),
        InfixOp::Ne => return Some(Ok(Value::Bool(a != b))),
        InfixOp::Lt => return Some(Ok(Value::Bool(a < b))),
        InfixOp::Le => return Some(Ok(Value::Bool(a <= b))),
        InfixOp::Gt => return Some(Ok(Value::Bool(a > b))),
        InfixOp::Ge => return Some(Ok(Value::Bool(a >= b))),
        InfixOp::Add => a.add(b, 1),
        InfixOp::Sub => a.add(b, -1),
        InfixOp::Mul => a.times(b),
        InfixOp::Div if b.above == 0 => return Some(fault("E0333", span, "division of an exact number by 0")),
        InfixOp::Div => a.over(b),
        _ => return None,
    };
    Some(match made {
        Some(made) => Ok(made.value()),
        None => fault("E0332", span, "the exact number has more than 38 digits"),
    })
}

/// `-x` of a fraction.
pub(crate) fn negated(value: &Value) -> Option<Value> {
    fraction(value).map(|x| x.minus().value())
}

/// `rational(text)`: what `+ - * / ( )` and numbers are worth, exactly; `none` if the text is anything else, divides by 0 or
/// goes beyond 38 digits. `numbers(text)`: the numbers that stand in a text, without signs.
pub(crate) fn read(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [of] = &call.positional[..] else { return wrong(call, call.span, "takes a Text") };
    let at = of.span();
    let value = eval.arg(of, call.env)?;
    if let ("rational", Value::Int(_) | Value::Foreign(_)) = (call.name, &value) {
        return Ok(Value::Some(Rc::new(value)));
    }
    let Some(text) = super::text::said(&value) else {
        return wrong(call, at, format!("takes a Text, this is {}", value.kind()));
    };
    eval.spend(1 + text.len() as u64 / 8, call.span)?;
    if call.name == "rational" {
        return Ok(expression(&text).map_or(Value::None, |x| Value::Some(Rc::new(x.value()))));
    }
    let mut found = vec![];
    let mut rest = &text[..];
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (number, after) = literal(&rest[at..]);
        // One of more than 38 digits is no given number, but it is a number.
        found.push(number.map_or(Value::Float(f64::INFINITY), Rational::value));
        rest = after;
    }
    Ok(Value::list(found))
}

/// A number without a sign at the beginning of a text, and what follows; `None` if it has too many digits.
fn literal(text: &str) -> (Option<Rational>, &str) {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (mut end, mut below) = (digits(text), Some(1));
    let mut above: Option<i128> = text[..end].parse().ok();
    if let Some(after) = text[end..].strip_prefix('.') {
        let n = digits(after);
        if n > 0 {
            below = u32::try_from(n).ok().and_then(|n| 10i128.checked_pow(n));
            above = format!("{}{}", &text[..end], &after[..n]).parse().ok();
            end += 1 + n;
        }
    }
    (above.zip(below).and_then(|(above, below)| Rational::new(above, below)), &text[end..])
}

/// What a whole text is worth as an expression.
fn expression(text: &str) -> Option<Rational> {
    if text.len() > LONGEST {
        return None;
    }
    let mut reader = Reader { rest: text.trim(), depth: 0 };
    let value = reader.sum()?;
    reader.rest.is_empty().then_some(value)
}

struct Reader<'t> {
    rest: &'t str,
    depth: usize,
}

impl Reader<'_> {
    /// Takes one of these characters.
    fn takes(&mut self, of: &[char]) -> Option<char> {
        let first = self.rest.chars().next().filter(|c| of.contains(c))?;
        self.rest = self.rest[first.len_utf8()..].trim_start();
        Some(first)
    }

    fn sum(&mut self) -> Option<Rational> {
        let mut value = self.product()?;
        while let Some(op) = self.takes(&['+', '-', '\u{2212}']) {
            value = value.add(self.product()?, if op == '+' { 1 } else { -1 })?;
        }
        Some(value)
    }

    fn product(&mut self) -> Option<Rational> {
        let mut value = self.factor()?;
        while let Some(op) = self.takes(&['*', '/', '\u{d7}', '\u{f7}']) {
            let next = self.factor()?;
            value = if matches!(op, '*' | '\u{d7}') { value.times(next) } else { value.over(next) }?;
        }
        Some(value)
    }

    fn factor(&mut self) -> Option<Rational> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let value = match self.takes(&['-', '\u{2212}', '+', '(']) {
            Some('(') => {
                let value = self.sum()?;
                self.takes(&[')'])?;
                value
            }
            Some('+') => self.factor()?,
            Some(_) => self.factor()?.minus(),
            None => {
                if !self.rest.starts_with(|c: char| c.is_ascii_digit()) {
                    return None;
                }
                let (value, rest) = literal(self.rest);
                self.rest = rest.trim_start();
                value?
            }
        };
        self.depth -= 1;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worth(text: &str) -> Option<(i128, i128)> {
        expression(text).map(|x| (x.above, x.below))
    }

    #[test]
    fn expressions_are_exact() {
        assert_eq!(worth("3 + 5*2"), Some((13, 1)));
        assert_eq!(worth("(1/3 + 1/6) * 2"), Some((1, 1)));
        assert_eq!(worth("-(2 - 0.25) / 7"), Some((-1, 4)));
        assert_eq!(worth("8 / (3 - 8 / 3)"), Some((24, 1)));
        assert_eq!(worth("0.1 + 0.2"), Some((3, 10)));
        assert_eq!(worth("99999999999999999999 - 99999999999999999998"), Some((1, 1)));
        assert_eq!(worth("6 \u{d7} 4 \u{f7} 2"), Some((12, 1)));
    }

    #[test]
    fn what_is_no_expression_has_no_value() {
        let deep = "(".repeat(5000) + "1" + &")".repeat(5000);
        let long = "1+".repeat(3000) + "1";
        let signs = "-".repeat(3000) + "1";
        for text in [
            "", "2**3", "7//2", "2(3)", "1 2", "3 +", "(1", "1)", "1/0", "1/(2-2)", "1e3", "x", "1,000", "3 = 3", ".5",
            "5.",
        ] {
            assert_eq!(worth(text), None, "{text}");
        }
        for text in [&deep, &long, &signs, &"9".repeat(60), &["9"; 20].join("9999*")] {
            assert_eq!(worth(text), None);
        }
    }

    #[test]
    fn order_is_that_of_the_numbers() {
        let of = |above, below| Rational::new(above, below).expect("a fraction");
        let big = i128::MAX / 3;
        assert!(of(1, 3) < of(1, 2) && of(-1, 2) < of(-1, 3) && of(-1, 2) < of(1, 3) && of(7, 3) > of(2, 1));
        assert!(of(big, big - 1) > of(big + 1, big) && of(2, 4) == of(1, 2) && of(3, 1) < of(16, 5));
        let mut all: Vec<(f64, Rational)> = vec![];
        for above in -7..8 {
            for below in 1..8 {
                all.push((above as f64 / below as f64, of(above, below)));
            }
        }
        for (x, a) in &all {
            for (y, b) in &all {
                assert_eq!(x.partial_cmp(y), Some(a.cmp(b)), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn numbers_of_a_text() {
        assert_eq!(literal("12.50a"), (Rational::new(25, 2), "a"));
        assert_eq!(literal("7. x"), (Rational::new(7, 1), ". x"));
        assert_eq!(literal(&"1".repeat(50)).0, None);
    }
}
