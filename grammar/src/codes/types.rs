//! E02xx and E03xx: axes, types, levels, and how values are used.

use super::Code;

pub(super) const CODES: [Code; 22] = [
    Code {
        code: "E0201",
        title: "one axis, two sizes",
        text: "Two axes of one name meet only when their sizes are equal, as expressions of the configuration or as numbers.",
        wrong: "fn f(a: Tensor[dim: 8], b: Tensor[dim: 16]) = a + b",
        right: "fn f(a: Tensor[dim: 8], b: Tensor[dim: 8]) = a + b",
    },
    Code {
        code: "E0202",
        title: "the axes of the operands do not fit",
        text: "One operand's axes must contain the other's; else the result would spread over an axis by accident. Reduce the \
               extra axis, spread on purpose with `tile[a](x)`, or name it anew with `rename`. Directly under a reduction \
               over an axis that both have, a product is free: `sum[dim](x * w)`.",
        wrong: "fn outer(a: Tensor[rows], b: Tensor[cols]) = a * b",
        right: "fn outer(a: Tensor[rows], b: Tensor[cols]) = tile[cols](a) * b",
    },
    Code {
        code: "E0203",
        title: "one axis name, two origins",
        text: "`time` of one reply is not `time` of another: their tokens do not correspond. Reduce both first, as in \
               `sum[time](a) - sum[time](b)`.",
        wrong: "loss f(p: Policy, x: Pair) per token = logp(p, x.chosen) - logp(p, x.rejected)",
        right: "loss f(p: Policy, x: Pair) per example = sum[time](logp(p, x.chosen)) - sum[time](logp(p, x.rejected))",
    },
    Code {
        code: "E0204",
        title: "a net's axis has another size than what it is given",
        text: "The axes of `apply`'s parameters meet the caller's by name, and must agree with them in size.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0205",
        title: "arithmetic on nets of different shape",
        text: "Nets are added and subtracted weight by weight, so both must have the same weights with the same axes.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0207",
        title: "no such inner value",
        text: "`read(net, x, .path)` names a `let`, a weight or the output of a part in the net's `apply`.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0208",
        title: "an axis that the value does not have",
        text: "A reduction, an index or a rename names an axis of its operand.",
        wrong: "fn f(x: Tensor[time]) = sum[vocab](x)",
        right: "fn f(x: Tensor[time]) = sum[time](x)",
    },
    Code {
        code: "E0209",
        title: "an argument lacks an axis",
        text: "A parameter that is declared with axes takes these by name and is applied for every index of the others; those that it names must be there.",
        wrong: "fn total(x: Tensor[time]) = sum[time](x)\nfn f(y: Tensor[vocab]) = total(y)",
        right: "fn total[..a](x: Tensor[..a]) = sum[a](x)\nfn f(y: Tensor[vocab]) = total[vocab](y)",
    },
    Code {
        code: "E0210",
        title: "a loss has other axes than its head says",
        text: "`per token` asks for a value with the axis `time`, `per sample` for one with `sample`, `per example`, `per group` \
               and `per batch` for a number.",
        wrong: "loss f(p: Policy, reply: Reply) per example = -logp(p, reply)",
        right: "loss f(p: Policy, reply: Reply) per token = -logp(p, reply)",
    },
    Code {
        code: "E0211",
        title: "a state with an axis of the items",
        text: "The state of a loss lives as long as its stage, so it cannot have the axes of one item. `state x: T each item` \
               keeps one for every row.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0212",
        title: "a loss without its head, or with an unknown one",
        text: "A loss says what its objective is a mean of: `per token`, `per sample`, `per example`, `per group` or `per batch`.",
        wrong: "loss l(policy: Policy, reply: Reply) = -logp(policy, reply)",
        right: "loss l(policy: Policy, reply: Reply) per token = -logp(policy, reply)",
    },
    Code {
        code: "E0214",
        title: "a size that is no size",
        text: "The size of an axis is a whole number, 1 or more, and must be known before anything runs.",
        wrong: "fn f() = zeros[dim: -3]",
        right: "fn f() = zeros[dim: 3]",
    },
    Code {
        code: "E0215",
        title: "an axis that is there already",
        text: "A value has each of its axes once. Rename to a name that the value does not have, or reduce the other axis first.",
        wrong: "fn f(x: Tensor[rows, cols]) = rename(x, rows: cols)",
        right: "fn f(x: Tensor[rows, cols]) = rename(x, rows: other)",
    },
    Code {
        code: "E0216",
        title: "a result of a net lacks its axis",
        text: "`logits` of a net gives a value for every place of the text and every token of the vocabulary: its result has the axes `time` and `vocab`.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0301",
        title: "Text in tensor code",
        text: "Losses, nets and optimizers run on the device, where there is no text. Compute what depends on the text \
               before, as a field of the item: `|> map(x => x with { flag: contains(x.text, \"no\") })`.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0302",
        title: "what a remote policy does not have",
        text: "A policy behind a server writes replies, and that is all that can be asked of it: it has no weights to train, save or \
               add, and no log-probabilities. `generate` and `sample` take it; for all else the model is loaded.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0310",
        title: "a value that nothing uses",
        text: "A statement that is not the last of its block and only computes a value does nothing. Bind it with `let`, assert \
               it, or take it away.",
        wrong: "fn f(x: Float) {\n  x + 1\n  x + 2\n}",
        right: "fn f(x: Float) {\n  let y = x + 1\n  y + 2\n}",
    },
    Code {
        code: "E0331",
        title: "calls or rounds without end",
        text: "Recursion and `until` may go on for long, but not for ever: there is a limit to the depth of calls and to rounds.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0332",
        title: "a whole number beyond its range",
        text: "An Int has 64 bits on the host and 32 in tensors. What may grow further is a Float.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0333",
        title: "a division of a whole number by zero",
        text: "`/` gives a Float and is infinite for 0; `%` of Ints has no value there.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0334",
        title: "an index outside of its axis",
        text: "Indices run from 0 to the size of the axis less one; negative ones count from its end. `x[a: i, or: d]` gives `d` outside.",
        wrong: "fn f(x: Tensor[dim: 4]) = x[dim: 4]",
        right: "fn f(x: Tensor[dim: 4]) = x[dim: 3]",
    },
    Code {
        code: "E0335",
        title: "a server gave no answer",
        text: "A request failed for good: the server said so, was silent for too long, wrote something that is no answer, or the \
               budget was spent. In code that makes rows the row is left out, and a run says how many were; `or_else` and a \
               function that gives an Option go on without it. What was answered is kept, so the same command asks for the rest.",
        wrong: "",
        right: "",
    },
];
