//! E01xx: names and modules.

use super::Code;

pub(super) const CODES: [Code; 5] = [
    Code {
        code: "E0101",
        title: "an unknown module, or a name that a module does not have",
        text: "`use` names a module of the standard library or a file beside this one, and what the file takes from it.",
        wrong: "use std.losses { dpoo }",
        right: "use std.losses { dpo }",
    },
    Code {
        code: "E0102",
        title: "not in the standard library yet",
        text: "The language's plan has this name, but this version of the standard library does not. The rest of the file is \
               checked all the same.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0103",
        title: "a name is defined twice",
        text: "A name stands for one thing in a block or file. An inner block, a lambda or a parameter may use it again.",
        wrong: "fn f(x: Float) = x\nfn f(x: Float) = 2 * x",
        right: "fn f(x: Float) = x\nfn g(x: Float) = 2 * x",
    },
    Code {
        code: "E0104",
        title: "an unknown name",
        text: "Nothing in sight has this name: no parameter, binding or declaration, nothing that the file imports, and \
               nothing of the core. Names of the standard library are imported: `use std.losses { dpo }`.",
        wrong: "fn double(x: Float) = 2 * y",
        right: "fn double(x: Float) = 2 * x",
    },
    Code {
        code: "E0105",
        title: "a field is given twice",
        text: "A record has one value for each of its fields.",
        wrong: "let p = { x: 1, x: 2 }",
        right: "let p = { x: 1, y: 2 }",
    },
];
