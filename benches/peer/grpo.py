"""GRPO of a language model with TRL on the sums of grpo.align, in their order: what a Python user would run for the same work.
Needs `pip install trl==1.16.0 torch transformers datasets`.

    python grpo.py MODEL_FOLDER SUMS_JSONL STEPS THREADS

The last line is JSON: steps, seconds of training, rewards and lengths."""
import json
import re
import sys
import tempfile
import time

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

folder, data, steps, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
MOST, GROUP, GROUPS = 64, 8, 2


def right(completions, answer, **_):
    last = [re.findall(r"-?\d+", said[0]["content"])[-1:] for said in completions]
    return [float(found == [wanted]) for found, wanted in zip(last, answer)]


def brevity(completion_ids, **_):
    return [1.0 - len(ids) / MOST for ids in completion_ids]


rows = load_dataset("json", data_files=data, split="train")
rows = rows.map(lambda row: {"prompt": [{"role": "user", "content": row["question"]}]})
trainer = GRPOTrainer(
    model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
    processing_class=AutoTokenizer.from_pretrained(folder),
    train_dataset=rows,
    reward_funcs=[right, brevity],
    # TRL's defaults of bf16 and of working activations out again only cost time on a CPU with memory to spare.
    args=GRPOConfig(
        output_dir=tempfile.mkdtemp(), max_steps=steps, per_device_train_batch_size=GROUPS * GROUP, num_generations=GROUP,
        max_completion_length=MOST, learning_rate=1e-6, temperature=1.0, reward_weights=[1.0, 0.5], loss_type="grpo",
        lr_scheduler_type="constant", weight_decay=0.0, shuffle_dataset=False, logging_steps=1, report_to="none",
        save_strategy="no", disable_tqdm=True, use_cpu=True, bf16=False, gradient_checkpointing=False,
        dataloader_pin_memory=False,
    ),
)
start = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - start
logs = [x for x in trainer.state.log_history if "reward" in x]
print(json.dumps({
    "seconds": seconds,
    "steps": steps,
    "rewards": [float(x["reward"]) for x in logs],
    "lengths": [float(x["completions/mean_length"]) for x in logs],
}))
