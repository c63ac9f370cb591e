//! E00xx: a text that cannot be read as a program.

use super::Code;

pub(super) const CODES: [Code; 31] = [
    Code {
        code: "E0001",
        title: "something else must stand here",
        text: "The text cannot be read on from this place. The message says what may stand there.",
        wrong: "fn twice(x: ) = 2 * x",
        right: "fn twice(x: Float) = 2 * x",
    },
    Code {
        code: "E0002",
        title: "a bracket is never closed",
        text: "Every `(`, `[` and `{` needs its partner. The place shown is the bracket that is still open; where its partner \
               belongs is often one line further.",
        wrong: "fn half(x: Float) = (x + 1 / 2",
        right: "fn half(x: Float) = (x + 1) / 2",
    },
    Code {
        code: "E0003",
        title: "a bracket closes nothing",
        text: "A `)`, `]` or `}` stands where no such bracket is open, or where another kind of bracket is open.",
        wrong: "fn half(x: Float) = x / 2)",
        right: "fn half(x: Float) = x / 2",
    },
    Code {
        code: "E0004",
        title: "`=` where values are compared",
        text: "`=` binds or assigns and stands once in a statement. Two values are compared with `==`.",
        wrong: "fn last(i: Int, n: Int) = if i = n - 1 then 1 else 0",
        right: "fn last(i: Int, n: Int) = if i == n - 1 then 1 else 0",
    },
    Code {
        code: "E0005",
        title: "`:` where `=` or nothing belongs",
        text: "After `:` stands a type, or the value of a named argument or of a record's field. A binding gives its value \
               with `=`, a slot of `train` has a blank after its word, and the result of a function follows `->`.",
        wrong: "param beta: 0.1",
        right: "param beta: Float = 0.1",
    },
    Code {
        code: "E0006",
        title: "`=` where a name is given its value by `:`",
        text: "Named arguments and the fields of a record are written `name: value`. `=` is for defaults in a declaration.",
        wrong: "data pairs = shuffle(rows, seed = 1)",
        right: "data pairs = shuffle(rows, seed: 1)",
    },
    Code {
        code: "E0007",
        title: "a lambda stands outside the call",
        text: "A function that is given to another is an argument like any other: it stands inside the parentheses, as the \
               last argument.",
        wrong: "data short = rows |> filter(rows) x => x.length < 9",
        right: "data short = rows |> filter(x => x.length < 9)",
    },
    Code {
        code: "E0008",
        title: "a positional argument after a named one",
        text: "Arguments without a name come first, then those with a name; only a lambda may follow them, as the last.",
        wrong: "data few = sample(n: 4, rows)",
        right: "data few = sample(rows, n: 4)",
    },
    Code {
        code: "E0009",
        title: "a reserved word as a name",
        text: "These words cannot be names: let, if, then, else, for, in, iterate, as, until, train, with, and, or, not, \
               true, false. They may still stand after a point (`sums.train`) and before a colon (`as: x`).",
        wrong: "fn flip(in: Float) = -in",
        right: "fn flip(x: Float) = -x",
    },
    Code {
        code: "W0010",
        title: "braces in a plain string",
        text: "In `\"..\"` braces are characters like any other. A text whose `{..}` are expressions has three quotes.",
        wrong: "fn greet(name: Text) = \"hello {name}\"",
        right: "fn greet(name: Text) = \"\"\"hello {name}\"\"\"",
    },
    Code {
        code: "E0011",
        title: "a comment that begins with `#`",
        text: "Comments begin with `//`, comments that document a declaration with `///`, those about a file with `//!`.",
        wrong: "# the share of wrong labels\nparam noise: Float = 0.1",
        right: "// the share of wrong labels\nparam noise: Float = 0.1",
    },
    Code {
        code: "E0012",
        title: "a string does not end on its line",
        text: "A string in single quotes of the form `\"..\"` ends on the line on which it begins. A text of several lines has \
               three quotes.",
        wrong: "param name: Text = \"small",
        right: "param name: Text = \"small\"",
    },
    Code {
        code: "E0013",
        title: "a text in three quotes is never closed",
        text: "A text that begins with `\"\"\"` goes on, over line ends too, to the next `\"\"\"`; a hole in it ends with `}`.",
        wrong: "param name: Text = \"\"\"small",
        right: "param name: Text = \"\"\"small\"\"\"",
    },
    Code {
        code: "E0014",
        title: "a character that means nothing",
        text: "Outside strings and comments a program has letters, digits, brackets and the operators of the language. Names \
               are written with the letters a to z, digits and `_`.",
        wrong: "param cost: Float = 3 $ 4",
        right: "param cost: Float = 3 * 4",
    },
    Code {
        code: "E0015",
        title: "two expressions side by side",
        text: "Between two expressions stands an operator, a comma, a line end or `;`. Arguments of a call stand in \
               parentheses; only slots and the commands show, save, plot and assert leave theirs out.",
        wrong: "fn half(x: Float) = sqrt x",
        right: "fn half(x: Float) = sqrt(x)",
    },
    Code {
        code: "E0016",
        title: "an operator of another language",
        text: "The logical operators are the words and, or, not; a power is written `^`; texts and lists are joined by `++`.",
        wrong: "fn both(a: Bool, b: Bool) = a && b",
        right: "fn both(a: Bool, b: Bool) = a and b",
    },
    Code {
        code: "E0017",
        title: "a comparison beside `|>`",
        text: "`|>` binds loosest of all, so it would take the whole comparison. Parentheses say what is meant.",
        wrong: "fn many(xs: List[Int]) = xs |> length() > 3",
        right: "fn many(xs: List[Int]) = (xs |> length()) > 3",
    },
    Code {
        code: "E0018",
        title: "comparisons or ranges in a chain",
        text: "A comparison is true or false, and that is not compared again; a range has two ends.",
        wrong: "fn inside(x: Float) = 0 < x < 1",
        right: "fn inside(x: Float) = 0 < x and x < 1",
    },
    Code {
        code: "E0019",
        title: "a `///` comment that documents nothing",
        text: "A `///` line belongs to the declaration, statement, field, parameter or slot on the next line. Elsewhere a \
               comment begins with `//`.",
        wrong: "fn half(x: Float) = x / 2 /// rounds",
        right: "fn half(x: Float) = x / 2 // rounds",
    },
    Code {
        code: "E0020",
        title: "a statement outside of a declaration",
        text: "A file holds declarations. What is done stands in the braces of `pipeline { }`, of a study or a test.",
        wrong: "show 1 + 1",
        right: "pipeline {\n  show 1 + 1\n}",
    },
    Code {
        code: "E0021",
        title: "`if` without `then`",
        text: "`if` is an expression: `if condition then value else value`. A branch that does several things is a block: \
               `then { .. }`.",
        wrong: "fn relu(x: Float) = if x > 0 { x } else { 0 }",
        right: "fn relu(x: Float) = if x > 0 then x else 0",
    },
    Code {
        code: "E0022",
        title: "an expression is not finished",
        text: "After an infix operator, `=`, `=>`, `then` or `else` stands an expression.",
        wrong: "fn half(x: Float) = x / ",
        right: "fn half(x: Float) = x / 2",
    },
    Code {
        code: "E0023",
        title: "an unknown escape",
        text: "In a string `\\` begins an escape: \\n \\t \\r \\0 \\\" \\\\ \\{ \\} or \\u{e9}. In `r\"..\"` it is an ordinary \
               character, as regular expressions need.",
        wrong: "param digits: Text = \"\\d+\"",
        right: "param digits: Text = r\"\\d+\"",
    },
    Code {
        code: "E0024",
        title: "a whole number is too large",
        text: "An Int has 64 bits. A larger number is a Float: write a point or an exponent.",
        wrong: "param far: Float = 100000000000000000000",
        right: "param far: Float = 1e20",
    },
    Code {
        code: "E0025",
        title: "a number is not written so",
        text: "A Float has digits on both sides of its point; numbers are decimal; `_` may part digits.",
        wrong: "param rate: Float = 1.",
        right: "param rate: Float = 1.0",
    },
    Code {
        code: "E0026",
        title: "a capital or small first letter",
        text: "Types and records begin with a capital; values, functions, nets, fields and axes do not. So a reader, and the \
               compiler, can tell a record `Pair { .. }` from a block.",
        wrong: "record pair { first: Float, second: Float }",
        right: "record Pair { first: Float, second: Float }",
    },
    Code {
        code: "E0027",
        title: "a word of another language",
        text: "The value of a block is its last expression; there is no `return`. Functions begin with `fn`, constants with \
               `let`, imports with `use`; `for` and `until` repeat.",
        wrong: "fn half(x: Float) {\n  return x / 2\n}",
        right: "fn half(x: Float) {\n  x / 2\n}",
    },
    Code {
        code: "E0028",
        title: "too deeply nested",
        text: "Brackets, lambdas or operators are nested deeper than the compiler follows. Give the parts names with `let`.",
        wrong: "fn f(x: Float) = ((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((x))))))))))\
                ))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))",
        right: "fn f(x: Float) = x",
    },
    Code {
        code: "E0029",
        title: "a declaration lacks a part",
        text: "A declaration has a name, perhaps parameters, and then `= value` or a block in braces.",
        wrong: "fn half(x: Float)",
        right: "fn half(x: Float) = x / 2",
    },
    Code {
        code: "E0030",
        title: "a brace that belongs to nothing",
        text: "Braces stand after train, for, iterate, until and each, after the head of a declaration, and where a value \
               stands: a block or a record. A brace never follows an expression as its argument.",
        wrong: "let p = pair { first: 1 }",
        right: "let p = Pair { first: 1 }",
    },
    Code {
        code: "E0031",
        title: "`if`, `for`, `train` or `iterate` lacks a part",
        text: "The forms are: `for x in xs { }`, `iterate n from start as name { }`, `iterate x in xs from start as name { }`, \
               `until condition { }`, `train net as name { }`.",
        wrong: "fn grow(n: Int) = iterate n from 1 { 2 }",
        right: "fn grow(n: Int) = iterate n from 1 as x { 2 * x }",
    },
];
