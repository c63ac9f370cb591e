#!/usr/bin/env python3
"""Models and adapters between alignc and the libraries transformers, peft and gguf, both ways, on SmolLM2-135M-Instruct.

    scripts/fetch_smollm.sh && cargo build --release
    pip install torch transformers peft gguf
    python scripts/peft_round_trip.py                   # ten minutes; ends with 1 if anything is further off than 1e-3
    python scripts/peft_round_trip.py --fixtures        # writes tests/data/peft anew, which tests of this project read

No part of scripts/test.sh.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import gguf
import peft
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parent.parent
TINY = ROOT / "tests/data/tiny"
FIXTURES = ROOT / "tests/data/peft"
MODEL = ROOT / "models/SmolLM2-135M-Instruct.gguf"

# The furthest that two log-probs of a token, in nats, or two scores may be apart.
FAR = 1e-3
TEXTS = [
    ("The capital of France is", " Paris, and that of Peru is Lima."),
    ("<|im_start|>user\nName a prime number.<|im_end|>\n<|im_start|>assistant\n", "97 is one, for 2, 3, 5 and 7 do not divide it."),
    ("def add(a, b):\n", "    return a + b  # über 12345\n"),
]

failed = []


def report(what, far, of="", most=FAR):
    good = far <= most
    print(f"{'ok  ' if good else 'FAR '} {what}: {far:.1e}{of}", flush=True)
    if not good:
        failed.append(what)


# ------------------------------------------------------------------------------------------------------- alignc


class Alignc:
    def __init__(self, command, folder):
        self.command, self.folder = command, folder

    def __call__(self, *args):
        done = subprocess.run([self.command, *map(str, args)], cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"alignc {' '.join(map(str, args))}\n{done.stdout}{done.stderr}")
        return done.stdout

    def score(self, model):
        """Ids of prompt and reply and the log-probs of the reply, for each text."""
        return [json.loads(self("score", model, "--prompt", p, "--reply", r, "--json")) for p, r in TEXTS]

    def run(self, name, text):
        """Runs a program; the numbers of the tables that it shows."""
        path = self.folder / f"{name}.align"
        path.write_text(text)
        events = [json.loads(line) for line in self("run", path.name, "--json").splitlines()]
        rows = [row for event in events if event["event"] == "show" for row in event["rows"]]
        return [float(cell) for row in rows for cell in row]


PROGRAM = """edition 2026
use std.data { Demo, Pair }
use std.losses { sft, bradley_terry }
use std.optimizers { adamw }
data demos = jsonl("demos.jsonl") as Demo
data pairs = jsonl("pairs.jsonl") as Pair
policy base = load("base")
pipeline {
%s
}
"""


def program(body):
    return PROGRAM % body


def write_rows(folder):
    """Texts of rows hold no special tokens, so these are without the one in the middle."""
    demos = [{"prompt": p, "reply": r} for p, r in [TEXTS[0], TEXTS[2]]]
    pairs = [{"prompt": d["prompt"], "chosen": d["reply"], "rejected": " No."} for d in demos]
    for name, rows in [("demos", demos), ("pairs", pairs)]:
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


# -------------------------------------------------------------------------------------------------- transformers


def logps(model, ids, replies):
    """Log-probs of the last `replies` tokens."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    found = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return found[len(ids) - 1 - replies :].tolist()


def scores(model, rows):
    with torch.no_grad():
        return [model(torch.tensor([ids])).logits[0, 0].item() for ids in rows]


def apart(a, b):
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def compare(what, model, scored, base=None):
    """What a model says of the texts that alignc has scored; with `base`, how far both moved from it."""
    ids = [one["prompt_ids"] + one["reply_ids"] for one in scored]
    found = [logps(model, i, len(one["reply_ids"])) for i, one in zip(ids, scored)]
    far = max(apart(a, one["logps"]) for a, one in zip(found, scored))
    moved = ""
    if base:
        moves = max(apart(one["logps"], other["logps"]) for one, other in zip(scored, base))
        moved = f" ({moves:.2f} from the model below)"
        if moves < 0.05:
            failed.append(f"{what}: the adapter changes nothing")
    report(what, far, moved)


def causal(folder, **more):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **more)
    return model.eval()


def scoring(folder):
    kind = AutoModelForSequenceClassification
    return kind.from_pretrained(folder, num_labels=1, dtype=torch.float32, attn_implementation="eager").eval()


def seeded(model, seed, size=0.02):
    """Draws what an adapter trains: PEFT starts half of it at zero."""
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            noise = size * torch.randn(weight.shape)
            with torch.no_grad():
                weight.copy_(weight * (1 + noise) if "norm" in name else noise)
    return model


def lora(**settings):
    return peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"} | settings)


# -------------------------------------------------------------------------------------------------------- checks


def from_alignc(alignc, base):
    """Adapters that alignc trains, read by peft; merged and whole folders, read by transformers."""
    patches = {
        "lora": "lora(rank: 8, alpha: 16, dropout: 0.05, targets: [.attend.q, .attend.v, .feed.down])",
        "rslora": "lora(rank: 8, alpha: 16, dropout: 0.1, rslora: true)",
        "layers": "lora(rank: 2, targets: [.blocks.3.attend.o, .blocks.28.feed.gate], trains: [.blocks.29.norm2])",
    }
    for name, patch in patches.items():
        alignc.run(
            name,
            program(
                f"  let tuned = train base with {patch} {{ on demos; loss sft(.reply); optimizer adamw(lr: 2e-3); batch 2 examples; steps 3 }}\n"
                f'  save tuned, to: "{name}"\n  save merged(tuned), to: "{name}_merged"'
            ),
        )
        scored = alignc.score(name)
        loaded = peft.PeftModel.from_pretrained(causal(alignc.folder / "base"), alignc.folder / name).eval()
        compare(f"an adapter of alignc in peft, {name}", loaded, scored, base)
        whole = alignc.score(f"{name}_merged")
        compare(f"merged by alignc in transformers, {name}", causal(alignc.folder / f"{name}_merged"), whole, base)
        report(f"merged and not, {name}", max(apart(a["logps"], b["logps"]) for a, b in zip(scored, whole)))


def from_peft(alignc, base):
    """Adapters that peft makes, read by alignc."""
    some = {
        "peft_plain": lora(),
        "peft_rslora": lora(r=8, use_rslora=True, lora_dropout=0.1, target_modules="all-linear"),
        "peft_norm": lora(modules_to_save=["norm"], layers_to_transform=[2, 7]),
    }
    for seed, (name, config) in enumerate(some.items()):
        model = seeded(peft.get_peft_model(causal(alignc.folder / "base"), config), seed).eval()
        model.save_pretrained(alignc.folder / name)
        compare(f"an adapter of peft in alignc, {name}", model, alignc.score(name), base)


def files(alignc):
    """GGUF files of alignc in transformers, and their tensors by the package gguf."""
    alignc.run("files", program("\n".join(f'  save base, to: "{kind}.gguf", as: "{kind}"' for kind in ["f16", "q8_0"])))
    state = causal(alignc.folder / "base").state_dict()
    for kind in ["f16", "q8_0"]:
        path = alignc.folder / f"{kind}.gguf"
        compare(f"a GGUF file of alignc in transformers, {kind}", causal(alignc.folder, gguf_file=path.name), alignc.score(path.name))
        tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
        values = lambda name: torch.from_numpy(gguf.dequantize(tensors[name].data, tensors[name].tensor_type).copy())
        for name, stored in [("blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight"), ("token_embd.weight", "model.embed_tokens.weight")]:
            want = state[stored]
            largest = want.reshape(-1, 32).abs().amax(1, keepdim=True).expand(-1, 32).reshape(want.shape)
            # Half of the last of 10 bits, or of one of 127 steps, whose size has 10 bits itself.
            half = want.abs() * 2.0**-11 + 2.0**-24 if kind == "f16" else largest * (0.5 / 127 + 2.0**-11)
            off = ((values(name) - want).abs() - half).max().item()
            report(f"{name} in {kind} by gguf, beyond its rounding", max(off, 0.0), most=1e-6)


def judges(alignc):
    """Reward models of alignc in transformers and peft, and one of peft in alignc."""
    stop = AutoTokenizer.from_pretrained(alignc.folder / "base").eos_token_id
    rows = [one["prompt_ids"] + one["reply_ids"] + [stop] for one in alignc.score("base")[::2]]
    shown = lambda judge: f"  show demos |> map(x => {{ found: score({judge}, x.reply) }})"
    for name, patches in [("judge", "head()"), ("judge_lora", "lora(rank: 4, targets: [.attend.q]) with head()")]:
        found = alignc.run(
            name,
            program(
                f"  let judge = train base with {patches} {{ on pairs; loss bradley_terry(); optimizer adamw(lr: 1e-3); batch 2 examples; steps 2 }}\n"
                f'{shown("judge")}\n  save judge, to: "{name}"'
            ),
        )
        if name == "judge":
            model = scoring(alignc.folder / name)
        else:
            model = peft.PeftModel.from_pretrained(scoring(alignc.folder / "base"), alignc.folder / name).eval()
        report(f"a reward model of alignc, {name}", apart(found, scores(model, rows)))
        again = alignc.run(f"{name}_again", program(shown(f'load("{name}")')))
        report(f"{name} again in alignc", apart(found, again))
    config = lora(task_type="SEQ_CLS", modules_to_save=["score"])
    model = seeded(peft.get_peft_model(scoring(alignc.folder / "base"), config), 5).eval()
    model.save_pretrained(alignc.folder / "peft_judge")
    found = alignc.run("peft_judge", program(shown('load("base") with adapter("peft_judge")')))
    report("a reward model of peft in alignc", apart(found, scores(model, rows)))


# ------------------------------------------------------------------------------------------------------ fixtures


def keep(model, name, base):
    """An adapter without what depends on this machine."""
    folder = FIXTURES / name
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = base
    config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def fixtures(alignc):
    shutil.rmtree(FIXTURES, ignore_errors=True)
    FIXTURES.mkdir()
    logits = json.loads((TINY / "llama/logits.json").read_text())
    rows = [one["ids"] for one in logits["sequences"]]
    some = {
        "plain": lora(),
        "rslora": lora(r=3, lora_alpha=5, use_rslora=True, lora_dropout=0.1, target_modules="all-linear"),
        "norm": lora(target_modules=["up_proj"], modules_to_save=["norm"], layers_to_transform=[1]),
        "gpt2": lora(target_modules=["c_attn", "c_proj"], fan_in_fan_out=True),
    }
    expected = {}
    rounded = lambda values: [round(x, 6) for x in values]
    for seed, (name, config) in enumerate(some.items()):
        base = "gpt2" if name == "gpt2" else "llama"
        model = seeded(peft.get_peft_model(causal(TINY / base), config), seed, 0.3).eval()
        keep(model, name, f"tiny/{base}")
        expected[name] = [{"ids": ids, "logps": rounded(logps(model, ids, len(ids) - 1))} for ids in rows]
    config = lora(task_type="SEQ_CLS", modules_to_save=["score"], target_modules=["q_proj", "down_proj"])
    model = seeded(peft.get_peft_model(scoring(TINY / "llama"), config), 7, 0.3).eval()
    keep(model, "score", "tiny/llama")
    expected["score"] = [{"ids": ids, "score": round(x, 6)} for ids, x in zip(rows, scores(model, rows))]

    # Of the real model two layers of rank 2.
    config = lora(r=2, layers_to_transform=[3, 28])
    model = seeded(peft.get_peft_model(causal(alignc.folder / "base"), config), 11, 0.05).eval()
    keep(model, "smollm2", "SmolLM2-135M-Instruct")
    scored = alignc.score("base")
    expected["smollm2"] = [
        {"prompt": p, "reply": r, "logps": rounded(logps(model, one["prompt_ids"] + one["reply_ids"], len(one["reply_ids"])))}
        for (p, r), one in zip(TEXTS, scored)
    ]
    (FIXTURES / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n")
    print(FIXTURES)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--alignc", default=ROOT / "target/release/alignc", help="the command")
    args.add_argument("--fixtures", action="store_true", help="write tests/data/peft")
    said = args.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        alignc = Alignc(str(pathlib.Path(said.alignc).resolve()), pathlib.Path(folder))
        write_rows(alignc.folder)
        (alignc.folder / "save.align").write_text(f'pipeline {{ save load({json.dumps(str(MODEL))}), to: "base" }}\n')
        alignc("run", "save.align", "--quiet")
        if said.fixtures:
            return fixtures(alignc)
        base = alignc.score("base")
        compare("a folder of alignc in transformers", causal(alignc.folder / "base"), base)
        tokenizer = AutoTokenizer.from_pretrained(alignc.folder / "base")
        for (prompt, reply), one in zip(TEXTS, base):
            same = [tokenizer.encode(prompt), tokenizer.encode(reply)] == [one["prompt_ids"], one["reply_ids"]]
            report("tokens of alignc's folder in transformers", 0.0 if same else float("inf"))
        from_alignc(alignc, base)
        from_peft(alignc, base)
        files(alignc)
        judges(alignc)
    if failed:
        sys.exit("further off than they should be: " + "; ".join(failed))


if __name__ == "__main__":
    main()
