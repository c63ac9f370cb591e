"""Steps of full fine-tuning on a GPU with PyTorch: what gpu.align does, weights in f32 and products in bf16 (autocast). Needs
`pip install torch transformers`.

    python gpu.py MODEL_FOLDER ROWS_JSONL STEPS TOKENS_A_STEP

The last line is JSON: tokens that went through forward and backward and are no padding, seconds, the most bytes held on the
card, losses. The first steps are left out of the time."""
import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, data, steps, tokens_a_step = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
WARM = 3
if not torch.cuda.is_available():
    sys.exit("this torch sees no card")
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").cuda()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.0, fused=True)


def encoded(row):
    prompt = tokenizer(f"<|im_start|>user\n{row['question']}<|im_end|>\n<|im_start|>assistant\n").input_ids
    reply = tokenizer(row["answer"]).input_ids + [tokenizer.eos_token_id]
    return prompt, reply


with open(data) as lines:
    rows = [encoded(json.loads(line)) for line in lines]


def batches():
    at = 0
    while True:
        taken, count = [], 0
        while not taken or count + sum(map(len, rows[at % len(rows)])) <= tokens_a_step:
            taken.append(rows[at % len(rows)])
            count += sum(map(len, taken[-1]))
            at += 1
        width = max(len(prompt) + len(reply) for prompt, reply in taken)
        ids = torch.zeros(len(taken), width, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for i, (prompt, reply) in enumerate(taken):
            n = len(prompt) + len(reply)
            ids[i, :n] = torch.tensor(prompt + reply)
            mask[i, :n] = 1
            labels[i, len(prompt) : n] = torch.tensor(reply)
        yield ids.cuda(), mask.cuda(), labels.cuda(), count


losses, tokens, begun = [], 0, 0.0
for step, (ids, mask, labels, count) in zip(range(WARM + steps), batches()):
    if step == WARM:
        torch.cuda.synchronize()
        begun = time.perf_counter()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    losses.append(loss.detach())
    tokens += count if step >= WARM else 0
torch.cuda.synchronize()
seconds = time.perf_counter() - begun
losses = [float(loss) for loss in losses]
peak = torch.cuda.max_memory_allocated()
print(json.dumps({"seconds": seconds, "tokens": tokens, "peak": peak, "losses": losses}))
