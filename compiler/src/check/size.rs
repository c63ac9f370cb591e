//! Sizes of fixed axes: Laurent polynomials over the parameters of a net.

use std::collections::BTreeMap;
use std::fmt;

/// A product of parameters with their exponents, in order of names; exponents may be negative (`width / heads`).
type Monomial = Vec<(String, i32)>;

/// A size: a sum of monomials with rational coefficients.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Size {
    /// No coefficient is 0; each is (numerator, denominator), reduced, the denominator positive.
    terms: BTreeMap<Monomial, (i64, i64)>,
}

impl Size {
    pub fn constant(n: i64) -> Size {
        let mut size = Size::default();
        if n != 0 {
            size.terms.insert(Vec::new(), (n, 1));
        }
        size
    }

    pub fn param(name: &str) -> Size {
        Size { terms: BTreeMap::from([(vec![(name.to_string(), 1)], (1, 1))]) }
    }

    /// The value, if no parameter is in it and it is whole.
    pub fn as_constant(&self) -> Option<i64> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Vec::new()).filter(|c| c.1 == 1).map(|c| c.0),
            _ => None,
        }
    }

    /// `None` on overflow, as in all arithmetic here.
    pub fn add(&self, other: &Size) -> Option<Size> {
        let mut sum = self.clone();
        for (monomial, &coefficient) in &other.terms {
            sum.put(monomial.clone(), coefficient)?;
        }
        Some(sum)
    }

    pub fn sub(&self, other: &Size) -> Option<Size> {
        self.add(&other.mul(&Size::constant(-1))?)
    }

    pub fn mul(&self, other: &Size) -> Option<Size> {
        let mut product = Size::default();
        for (left, &a) in &self.terms {
            for (right, &b) in &other.terms {
                product.put(times(left, right, 1), reduced(a.0 as i128 * b.0 as i128, a.1 as i128 * b.1 as i128)?)?;
            }
        }
        Some(product)
    }

    /// Division by a single monomial; `None` for any other divisor.
    pub fn div(&self, other: &Size) -> Option<Size> {
        let (monomial, &d) = other.terms.iter().next().filter(|_| other.terms.len() == 1)?;
        let mut quotient = Size::default();
        for (left, &n) in &self.terms {
            quotient.put(times(left, monomial, -1), reduced(n.0 as i128 * d.1 as i128, n.1 as i128 * d.0 as i128)?)?;
        }
        Some(quotient)
    }

    /// Puts sizes in the place of parameters; `None` if one of them is not known.
    pub fn substitute(&self, value: &dyn Fn(&str) -> Option<Size>) -> Option<Size> {
        let mut sum = Size::default();
        for (monomial, &coefficient) in &self.terms {
            let mut product = Size { terms: BTreeMap::from([(Vec::new(), coefficient)]) };
            for (name, exponent) in monomial {
                let factor = value(name)?;
                for _ in 0..exponent.unsigned_abs() {
                    product = if *exponent > 0 { product.mul(&factor)? } else { product.div(&factor)? };
                }
            }
            sum = sum.add(&product)?;
        }
        Some(sum)
    }

    /// Whether the two can never be equal, given that sizes are positive: their difference is a constant, or one is a
    /// multiple of the other. Where this is false and they are not equal, the plan decides.
    pub fn differs(&self, other: &Size) -> bool {
        let constant = self.sub(other).is_some_and(|d| d.as_constant().is_some_and(|c| c != 0));
        let multiple = self.div(other).is_some_and(|q| q.terms.len() == 1 && q.terms.contains_key(&Vec::new()));
        self != other && (constant || multiple)
    }

    fn put(&mut self, monomial: Monomial, coefficient: (i64, i64)) -> Option<()> {
        let old = self.terms.remove(&monomial).unwrap_or((0, 1));
        let (a, b) = ((old.0 as i128, old.1 as i128), (coefficient.0 as i128, coefficient.1 as i128));
        let sum = reduced(a.0 * b.1 + b.0 * a.1, a.1 * b.1)?;
        if sum.0 != 0 {
            self.terms.insert(monomial, sum);
        }
        Some(())
    }
}

fn reduced(numerator: i128, denominator: i128) -> Option<(i64, i64)> {
    let (mut a, mut b) = (numerator.unsigned_abs(), denominator.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let divisor = (a.max(1) as i128) * denominator.signum();
    (denominator != 0)
        .then(|| Some((i64::try_from(numerator / divisor).ok()?, i64::try_from(denominator / divisor).ok()?)))
        .flatten()
}

fn times(left: &Monomial, right: &Monomial, sign: i32) -> Monomial {
    let mut powers: BTreeMap<String, i32> = left.iter().cloned().collect();
    for (name, exponent) in right {
        *powers.entry(name.clone()).or_default() += sign * exponent;
    }
    powers.into_iter().filter(|(_, exponent)| *exponent != 0).collect()
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        for (i, (monomial, (numerator, denominator))) in self.terms.iter().rev().enumerate() {
            match (i, *numerator < 0) {
                (0, false) => {}
                (0, true) => f.write_str("-")?,
                (_, false) => f.write_str(" + ")?,
                (_, true) => f.write_str(" - ")?,
            }
            let mut over: Vec<String> = Vec::new();
            let mut factors: Vec<String> = Vec::new();
            if numerator.unsigned_abs() != 1 || !monomial.iter().any(|(_, e)| *e > 0) {
                factors.push(numerator.unsigned_abs().to_string());
            }
            if *denominator != 1 {
                over.push(denominator.to_string());
            }
            for (name, exponent) in monomial {
                let power = if exponent.abs() == 1 { name.clone() } else { format!("{name}^{}", exponent.abs()) };
                if *exponent > 0 { factors.push(power) } else { over.push(power) }
            }
            f.write_str(&factors.join(" * "))?;
            for divisor in over {
                write!(f, " / {divisor}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_meet_as_polynomials() {
        let (width, heads) = (Size::param("width"), Size::param("heads"));
        let head = width.div(&heads).unwrap();
        assert_eq!(head.mul(&heads).unwrap(), width);
        assert_eq!(head.to_string(), "width / heads");
        assert!(Size::constant(2).mul(&width).unwrap().differs(&width));
        assert!(width.add(&Size::constant(1)).unwrap().differs(&width));
        assert!(!width.differs(&heads), "the plan decides");
        assert!(!width.differs(&width));
        let twice = head.substitute(&|name| Some(if name == "width" { Size::constant(64) } else { Size::constant(4) }));
        assert_eq!(twice.unwrap().as_constant(), Some(16));
        assert!(width.div(&width.add(&heads).unwrap()).is_none());
        assert!(Size::constant(i64::MAX).mul(&Size::constant(2)).is_none());
        assert!(Size::constant(4).div(&Size::constant(0)).is_none());
    }

    #[test]
    fn sizes_print() {
        let width = Size::param("width");
        let half = width.div(&Size::constant(2)).unwrap().sub(&Size::constant(3)).unwrap();
        assert_eq!(half.to_string(), "width / 2 - 3");
        assert_eq!(Size::default().to_string(), "0");
    }
}
