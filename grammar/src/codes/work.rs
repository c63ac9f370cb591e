//! E04xx to E07xx: gradients and objectives, generation, seeds, data.

use super::Code;

pub(super) const CODES: [Code; 10] = [
    Code {
        code: "E0401",
        title: "the loss does not depend on what is trained",
        text: "Every path from the loss to the trained weights goes through `stop`, a comparison or a whole number, so the \
               gradient is zero everywhere.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0402",
        title: "a gradient through what was drawn",
        text: "Drawn tokens, `generate` and host code have no derivative. Use the log-probability of what was drawn: \
               `logp(p, reply)`.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0403",
        title: "a gradient through an earlier step",
        text: "State carries values from step to step, but no gradient.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0404",
        title: "a gradient through a loop without bound",
        text: "Backwards through a loop needs its states, so the number of rounds must be known or bounded with `within: n`.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0405",
        title: "a decomposition with equal values",
        text: "The derivative of eigenvectors or singular vectors does not exist where two values coincide. Read the values \
               only, or add a small known perturbation.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0406",
        title: "`grad` of a value with axes",
        text: "`grad` is of a number. Reduce the value first, or use `jacobian(f)` or `vmap`.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0408",
        title: "a loss couples more items than fit at once",
        text: "A term reads all items of a step together (`mean[batch]`), and they do not fit into memory together. A smaller \
               batch, or `stop` around the coupling term, helps.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0501",
        title: "a net that cannot go on token by token",
        text: "Generation computes one token at a time. A value of a token may depend on it and on earlier ones: by \
               `rename(x, time: past)` under a guard, by a forward `scan` or `shift`. The net still trains and scores.",
        wrong: "",
        right: "",
    },
    Code {
        code: "W0601",
        title: "a seed that nothing reads",
        text: "Stages that differ in nothing but a name see the same random numbers. `for seed in ..` must hand its seed on, \
               as in `seed seed` in the braces of `train`.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0701",
        title: "data that do not fit",
        text: "A row of a file is broken, lacks a field or has a field of another type. The message names file, line and field.",
        wrong: "",
        right: "",
    },
];
