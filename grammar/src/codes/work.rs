//! E04xx to E07xx: gradients and objectives, generation, seeds, data.

use super::Code;

pub(super) const CODES: [Code; 28] = [
    Code {
        code: "E0401",
        title: "the loss does not depend on what is trained",
        text: "Every path from the loss to the trained weights goes through `stop`, a comparison or a whole number, so the \
               gradient is zero everywhere.",
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
        code: "E0407",
        title: "a graph without a form for many items",
        text: "What a loss or metric works out for one item is laid end to end for many. Some operations along axes whose \
               lengths the data decide have no such form yet; the message names the one.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0408",
        title: "a loss couples more items than fit at once",
        text: "A term reads all items of a step together (`mean[batch]`), and they do not fit into memory together. A smaller \
               batch or more memory helps. Where there is no step, as in a metric, there is nothing to read together.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0501",
        title: "a net that cannot go on from kept tokens",
        text: "Tokens are written one after the other, and what a net makes of earlier ones is kept. So it must go along its tokens: \
               causal attention, running sums, scans and earlier places do. `mean[time]`, `size[time]` and a scan backwards, read \
               for each token, a sort, or attention to later tokens need all of them at once. The net still trains and scores; \
               `incremental: false` computes the whole context for each token.",
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
        code: "E0700",
        title: "an assertion does not hold",
        text: "An `assert` of a test or pipeline is false. The place shown is its condition.",
        wrong: "test \"a sum\" {\n  assert 1 + 1 == 3\n}",
        right: "test \"a sum\" {\n  assert 1 + 1 == 2\n}",
    },
    Code {
        code: "E0701",
        title: "data that do not fit",
        text: "A row of a file is broken, lacks a field or has a field of another type. The message names file, line and field.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0702",
        title: "a data file that cannot be read",
        text: "The file is not there, or a line of it is not JSON. Paths are read from where `alignc` was started.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0703",
        title: "nothing teaches the model to stop",
        text: "No row that was looked at puts loss on the tokenizer's stop token, so the model would never learn where an \
               answer ends. A chat template must end what the assistant says with it, and `truncate:` must not always cut \
               it off.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0704",
        title: "a sequence begins twice",
        text: "The token that begins every sequence of this model is put before prompts by itself. A template that writes \
               it too doubles it, which the model never saw.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0705",
        title: "a row is longer than the context",
        text: "Prompt and reply together have more tokens than the net is made for. Say what is done with such rows: \
               `on data, truncate: drop` leaves them out, `start` cuts the prompt's first tokens, `end` the last ones.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0706",
        title: "no rows",
        text: "A stage or a mean needs at least one row of data; a file may be empty, or a filter may leave nothing.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0707",
        title: "two tokenizers in one graph",
        text: "Policies that read the same text in one loss or metric must turn it into the same tokens.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0708",
        title: "a model that cannot be loaded",
        text: "The folder or file is not there, is damaged, or holds a kind of model that the library has no net for.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0709",
        title: "a model without a tensor that the net needs",
        text: "`names` of a net says under which name a checkpoint keeps each weight. The tensor is not there, or has \
               another shape.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0710",
        title: "a test and its file of numbers do not fit",
        text: "`test .. vectors \"dpo\" as v` reads a file of cases: what the test names in `agrees` must be among its outputs, and what it reads among its inputs and settings.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0711",
        title: "a value differs from the one on file",
        text: "A test with `vectors` compares values and gradients with those of its file, within the tolerance of the run.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0712",
        title: "a patch that cannot be saved alone",
        text: "A policy with a patch is saved as what was put on it: one patch, on whole weights, whose `adapter` says the \
               settings that its folder holds. `merged(p)` is the same policy without patches.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0713",
        title: "a policy that cannot be saved so",
        text: "A folder takes any policy, as `f32`, `f16` or `bf16`. A file that ends in `.gguf` takes a net of the families \
               llama, mistral, qwen2, qwen3 and gpt2, as `f16`, `f32`, `bf16` or `q8_0`, with a tokenizer that such files \
               have words for.",
        wrong: "",
        right: "",
    },
    Code {
        code: "W0714",
        title: "a model that is not here yet",
        text: "A model that is named by its place on a hub is fetched by `alignc run` alone. Until its files are in the cache, \
               no other command knows what net it is, and what is made of it is not looked at.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0720",
        title: "no reply has a reward",
        text: "A reward that is none leaves its reply out: it is not counted as 0. If that holds for all replies of data, nothing is \
               left to learn from.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0721",
        title: "a reward that is not finite",
        text: "A reward of nan or infinity would spoil the mean over its group and every step after. Its reply is left out, as with \
               any reward that fails; that every one fails is an error.",
        wrong: "",
        right: "",
    },
    Code {
        code: "W0722",
        title: "a reward for answers that nobody wants",
        text: "Before a run every reward is tried on a few rows with an empty answer, the prompt again, a list of numbers that has \
               the right one, and one word without end. One of them gets at least half of what the best known answer gets (a \
               field of the row, or a reply that is there), so a policy that learns it gives that answer to everything.",
        wrong: "",
        right: "",
    },
    Code {
        code: "W0723",
        title: "a reward that fails for odd answers",
        text: "A policy writes empty and endless answers too. A reward that fails leaves its reply out of the step, so that nothing \
               is learned from it.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0724",
        title: "a grammar that replies cannot keep to",
        text: "What `json_schema` takes is a JSON schema, as Text or as a record; what `matching` takes is a regular expression \
               without look-around. The policy's tokens must be able to write a reply that it allows.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0725",
        title: "a variable of the environment that is not set",
        text: "`env(\"NAME\")` in a setting is what the variable NAME holds where `alignc` is started.",
        wrong: "",
        right: "",
    },
    Code {
        code: "E0726",
        title: "a server that cannot be asked",
        text: "Servers are asked by `alignc run` alone. The key of one that wants a key stands in the variable of the environment that \
               `key: env(\"NAME\")` names.",
        wrong: "",
        right: "",
    },
];
