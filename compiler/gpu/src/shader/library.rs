//! Functions that kernels call: elementary functions where those of WGSL promise too little, checks, random numbers.
//!
//! WGSL lets a compiler assume that there is no nan and no infinity, so these are told by their bits.

use std::collections::BTreeSet;

use super::Form;

/// A function of the library. In the order in which texts have them: what calls others comes after these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    /// The float with these bits, which no compiler works out before.
    Bits,
    IsNan,
    Max,
    Min,
    Bf16,
    Angle,
    Sin,
    Cos,
    Tanh,
    Sigmoid,
    Pow,
    PowInt,
    Rem,
    /// An index, or 0 and a fault.
    Checked,
    /// Division of Ints towards minus infinity, or 0 and a fault.
    DivInt,
    RemInt,
    Wide,
    Philox,
    Uniform,
    Normal,
    GroupSum,
    GroupProd,
    GroupMax,
    GroupMin,
    GroupSumInt,
    GroupProdInt,
    GroupMaxInt,
    GroupMinInt,
    GroupAny,
    GroupAll,
}

use Function::*;

/// What texts call each function, in the order of [`Function`].
const NAMES: [(Function, &str); 30] = [
    (Bits, "float_of"),
    (IsNan, "is_nan"),
    (Max, "larger"),
    (Min, "smaller"),
    (Bf16, "to_bf16"),
    (Angle, "quarter_turns"),
    (Sin, "sine"),
    (Cos, "cosine"),
    (Tanh, "tangent"),
    (Sigmoid, "sigmoid"),
    (Pow, "power"),
    (PowInt, "power_int"),
    (Rem, "remainder"),
    (Checked, "checked"),
    (DivInt, "divided"),
    (RemInt, "rest"),
    (Wide, "product_of"),
    (Philox, "philox"),
    (Uniform, "draw_uniform"),
    (Normal, "draw_normal"),
    (GroupSum, "group_sum"),
    (GroupProd, "group_prod"),
    (GroupMax, "group_max"),
    (GroupMin, "group_min"),
    (GroupSumInt, "group_sum_int"),
    (GroupProdInt, "group_prod_int"),
    (GroupMaxInt, "group_max_int"),
    (GroupMinInt, "group_min_int"),
    (GroupAny, "group_any"),
    (GroupAll, "group_all"),
];

impl Function {
    pub fn name(self) -> &'static str {
        NAMES[self as usize].1
    }

    /// The functions that it calls.
    fn calls(self) -> &'static [Function] {
        match self {
            Max | Min | Bf16 => &[IsNan],
            GroupMax => &[Max],
            GroupMin => &[Min],
            Sin | Cos => &[Angle],
            Angle => &[Wide],
            Pow => &[Bits],
            Philox => &[Wide],
            Uniform => &[Philox],
            Normal => &[Philox, Cos],
            _ => &[],
        }
    }

    /// Its text, for workgroups of so many lanes and so many rows.
    pub fn text(self, width: usize, rows: usize) -> String {
        let plain = match self {
            Bits => include_str!("library/bits.wgsl"),
            IsNan => include_str!("library/is_nan.wgsl"),
            Max => include_str!("library/max.wgsl"),
            Min => include_str!("library/min.wgsl"),
            Bf16 => include_str!("library/bf16.wgsl"),
            Angle => include_str!("library/angle.wgsl"),
            Sin => include_str!("library/sin.wgsl"),
            Cos => include_str!("library/cos.wgsl"),
            Tanh => include_str!("library/tanh.wgsl"),
            Sigmoid => include_str!("library/sigmoid.wgsl"),
            Pow => include_str!("library/pow.wgsl"),
            PowInt => include_str!("library/pow_int.wgsl"),
            Rem => include_str!("library/rem.wgsl"),
            Checked => include_str!("library/checked.wgsl"),
            DivInt => include_str!("library/div_int.wgsl"),
            RemInt => include_str!("library/rem_int.wgsl"),
            Wide => include_str!("library/wide.wgsl"),
            Philox => include_str!("library/philox.wgsl"),
            Uniform => include_str!("library/uniform.wgsl"),
            Normal => include_str!("library/normal.wgsl"),
            GroupSum => return tree(self, "f32", "{a} + {b}", (width, rows)),
            GroupProd => return tree(self, "f32", "{a} * {b}", (width, rows)),
            GroupMax => return tree(self, "f32", "larger({a}, {b})", (width, rows)),
            GroupMin => return tree(self, "f32", "smaller({a}, {b})", (width, rows)),
            GroupSumInt => return tree(self, "i32", "{a} + {b}", (width, rows)),
            GroupProdInt => return tree(self, "i32", "{a} * {b}", (width, rows)),
            GroupMaxInt => return tree(self, "i32", "max({a}, {b})", (width, rows)),
            GroupMinInt => return tree(self, "i32", "min({a}, {b})", (width, rows)),
            GroupAny => return tree(self, "u32", "{a} | {b}", (width, rows)),
            GroupAll => return tree(self, "u32", "{a} & {b}", (width, rows)),
        };
        plain.to_string()
    }
}

/// One value of all lanes that share a row, in halves: an order that no device changes. Neighbouring lanes have neighbouring
/// rows. Call it where all lanes are.
fn tree(function: Function, of: &str, joined: &str, (width, rows): (usize, usize)) -> String {
    let name = function.name();
    let (a, b) = (format!("lanes_of_{name}[lane]"), format!("lanes_of_{name}[lane + other]"));
    let joined = joined.replace("{a}", &a).replace("{b}", &b);
    let (value, result) = match function {
        GroupAny | GroupAll => ("select(0u, 1u, x)", "found != 0u"),
        _ => ("x", "found"),
    };
    let own = if rows == 1 { "0".to_string() } else { format!("lane % {rows}u") };
    let from = if matches!(function, GroupAny | GroupAll) { "bool" } else { of };
    format!(
        "var<workgroup> lanes_of_{name}: array<{of}, {width}>;\n\
         fn {name}(x: {from}, lane: u32) -> {from} {{\n    \
             lanes_of_{name}[lane] = {value};\n    \
             workgroupBarrier();\n    \
             for (var other = {}u; other >= {rows}u; other >>= 1u) {{\n        \
                 if lane < other {{\n            \
                     lanes_of_{name}[lane] = {joined};\n        \
                 }}\n        \
                 workgroupBarrier();\n    \
             }}\n    \
             let found = lanes_of_{name}[{own}];\n    \
             workgroupBarrier();\n    \
             return {result};\n\
         }}\n",
        width / 2
    )
}

/// Whether a function has this name.
pub fn is_name(name: &str) -> bool {
    NAMES.iter().any(|(_, own)| *own == name)
}

/// The functions and all that they call, each before its callers.
pub fn with_what_they_call(functions: &BTreeSet<Function>) -> BTreeSet<Function> {
    let mut all = functions.clone();
    loop {
        let more: Vec<Function> = all.iter().flat_map(|f| f.calls()).copied().filter(|f| !all.contains(f)).collect();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

/// A function that reads an entry of a buffer in fewer bits than f32.
pub fn reader(form: Form, name: &str) -> String {
    let text = match form {
        Form::Bf16 => include_str!("library/read_bf16.wgsl"),
        Form::Q8 => include_str!("library/read_q8.wgsl"),
        Form::Q4 => include_str!("library/read_q4.wgsl"),
        Form::F32 | Form::I32 | Form::Bool | Form::Half => return String::new(),
    };
    text.replace("BUFFER", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_functions() {
        assert!(NAMES.iter().enumerate().all(|(i, (function, _))| *function as usize == i));
    }
}
