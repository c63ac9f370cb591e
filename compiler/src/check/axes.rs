//! Axes of a value and the rule by which the operands of an operator meet (SEMANTICS section 1).

use super::size::Size;
use std::fmt;
use std::rc::Rc;

/// Whose length a ragged axis has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Equal keys are the same length. A key is a place of a binding and a path from there.
    pub key: Rc<str>,
    /// How users call it: `chosen` in "time of chosen".
    pub shown: Rc<str>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AxisKind {
    /// The size, where it is known as an expression over parameters.
    Fixed(Option<Size>),
    Ragged(Origin),
    /// The items of one optimizer step.
    Batch,
    /// Nothing is known but the name.
    Open,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub name: Rc<str>,
    pub kind: AxisKind,
}

/// Why two axes of one name do not meet.
#[derive(Clone, Debug, PartialEq)]
pub enum Clash {
    /// E0201
    Sizes { axis: Rc<str>, left: Size, right: Size },
    /// E0203
    Origins { axis: Rc<str>, left: Rc<str>, right: Rc<str> },
    /// E0202: what each side has beyond the other.
    Broadcast { left: Vec<Rc<str>>, right: Vec<Rc<str>> },
}

impl Axis {
    pub fn new(name: impl Into<Rc<str>>, kind: AxisKind) -> Axis {
        Axis { name: name.into(), kind }
    }

    pub fn open(name: impl Into<Rc<str>>) -> Axis {
        Axis::new(name, AxisKind::Open)
    }

    /// The axis that both are, or why they are not the same.
    pub fn meet(&self, other: &Axis) -> Result<Axis, Clash> {
        let axis = self.name.clone();
        match (&self.kind, &other.kind) {
            (AxisKind::Fixed(Some(left)), AxisKind::Fixed(Some(right))) if left.differs(right) => {
                Err(Clash::Sizes { axis, left: left.clone(), right: right.clone() })
            }
            (AxisKind::Ragged(left), AxisKind::Ragged(right)) if left.key != right.key => {
                Err(Clash::Origins { axis, left: left.shown.clone(), right: right.shown.clone() })
            }
            (AxisKind::Open | AxisKind::Fixed(None), _) => Ok(other.clone()),
            _ => Ok(self.clone()),
        }
    }

    /// Whether its length differs from item to item.
    pub fn of_items(&self) -> bool {
        matches!(self.kind, AxisKind::Ragged(_) | AxisKind::Batch) || matches!(&*self.name, "time" | "sample")
    }
}

/// A set of axes, in the order of writing (which is never meaning).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Axes(pub Vec<Axis>);

impl Axes {
    pub fn get(&self, name: &str) -> Option<&Axis> {
        self.0.iter().find(|a| &*a.name == name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn names(&self) -> impl Iterator<Item = &Rc<str>> {
        self.0.iter().map(|a| &a.name)
    }

    pub fn without(&self, names: &[Rc<str>]) -> Axes {
        Axes(self.0.iter().filter(|a| !names.contains(&a.name)).cloned().collect())
    }

    /// Adds an axis that is not there.
    pub fn with(mut self, axis: Axis) -> Axes {
        if !self.has(&axis.name) {
            self.0.push(axis);
        }
        self
    }

    /// What `self` has and `other` has not, but for `exempt`.
    pub fn beyond(&self, other: &Axes, exempt: &[Rc<str>]) -> Vec<Rc<str>> {
        self.names().filter(|n| !other.has(n) && !exempt.contains(n)).cloned().collect()
    }

    /// Both, without the rule of operators; shared axes must meet.
    pub fn union(&self, other: &Axes) -> Result<Axes, Clash> {
        let mut all = self.clone();
        for axis in &other.0 {
            match all.0.iter_mut().find(|a| a.name == axis.name) {
                Some(mine) => *mine = mine.meet(axis)?,
                None => all.0.push(axis.clone()),
            }
        }
        Ok(all)
    }

    /// The axes of an elementwise operator of two operands. `paired` are exempt from the rule that one contains the
    /// other; `under` are the axes that a reduction around a product sums over: then a shared one of these is enough.
    pub fn combine(&self, other: &Axes, paired: &[Rc<str>], under: &[Rc<str>]) -> Result<Axes, Clash> {
        let all = self.union(other)?;
        let (left, right) = (self.beyond(other, paired), other.beyond(self, paired));
        let contracted = under.iter().any(|r| self.has(r) && other.has(r));
        if left.is_empty() || right.is_empty() || contracted { Ok(all) } else { Err(Clash::Broadcast { left, right }) }
    }
}

impl fmt::Display for Axes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names: Vec<&str> = self.names().map(|n| &**n).collect();
        f.write_str(&names.join(", "))
    }
}

/// "time", "time and dim", "a, b and c".
pub fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{}`", n.as_ref())).collect();
    match quoted.split_last() {
        None => "no axes".to_string(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(names: &[&str]) -> Axes {
        Axes(names.iter().map(|n| Axis::open(*n)).collect())
    }

    fn names(names: &[&str]) -> Vec<Rc<str>> {
        names.iter().map(|n| Rc::from(*n)).collect()
    }

    #[test]
    fn one_operand_contains_the_other() {
        assert_eq!(axes(&["time", "dim"]).combine(&axes(&["dim"]), &[], &[]), Ok(axes(&["time", "dim"])));
        let clash = axes(&["time"]).combine(&axes(&["dim"]), &[], &[]);
        assert_eq!(clash, Err(Clash::Broadcast { left: names(&["time"]), right: names(&["dim"]) }));
    }

    #[test]
    fn a_product_under_a_reduction_needs_a_shared_axis() {
        let (x, w) = (axes(&["time", "dim"]), axes(&["dim", "ff"]));
        assert!(x.combine(&w, &[], &[]).is_err());
        assert_eq!(x.combine(&w, &[], &names(&["dim"])), Ok(axes(&["time", "dim", "ff"])));
        assert!(axes(&["vocab"]).combine(&axes(&["choice"]), &[], &names(&["vocab"])).is_err());
    }

    #[test]
    fn paired_axes_are_exempt() {
        assert_eq!(axes(&["past"]).combine(&axes(&["time"]), &names(&["past"]), &[]), Ok(axes(&["past", "time"])));
    }

    #[test]
    fn replies_do_not_meet_on_time() {
        let time =
            |of: &str| Axes(vec![Axis::new("time", AxisKind::Ragged(Origin { key: of.into(), shown: of.into() }))]);
        assert!(time("chosen").combine(&time("chosen"), &[], &[]).is_ok());
        let clash = time("chosen").combine(&time("rejected"), &[], &[]);
        assert_eq!(clash, Err(Clash::Origins { axis: "time".into(), left: "chosen".into(), right: "rejected".into() }));
    }
}
