"""Replies drawn by transformers' generate() in f32 with its key/value cache: equally long random prompts, temperature 1, all
tokens but the stop token. Needs `pip install torch transformers`.

    python generate.py --model MODEL_FOLDER --batch N --threads N

The last line is JSON: new tokens, seconds (the prompts' included), tokens a second."""
import argparse
import json
import resource
import time

import torch
from transformers import AutoModelForCausalLM

p = argparse.ArgumentParser()
p.add_argument("--model", required=True, help="a Hugging Face folder, as make_model.py writes it")
p.add_argument("--batch", type=int, default=8)
p.add_argument("--prompt-tokens", type=int, default=32)
p.add_argument("--new", type=int, default=128)
p.add_argument("--threads", type=int, default=2)
p.add_argument("--seed", type=int, default=0)
args = p.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(args.seed)
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
prompt = torch.randint(model.config.vocab_size, (args.batch, args.prompt_tokens))


def sample(new):
    return model.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
        min_new_tokens=new, max_new_tokens=new, pad_token_id=0,
    )


sample(min(args.new, 8))  # warm-up
start, start_cpu = time.time(), time.process_time()
out = sample(args.new)
seconds, cpu_seconds = time.time() - start, time.process_time() - start_cpu
tokens = out.numel() - prompt.numel()
assert tokens == args.batch * args.new
print(json.dumps(dict(
    task="generate", batch=args.batch, new=args.new, seconds=round(seconds, 2), tokens=tokens,
    tokens_per_s=round(tokens / seconds, 1), peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    cpu_seconds=round(cpu_seconds, 2),
)))
