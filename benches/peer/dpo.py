"""DPO of a language model with TRL on the pairs of dpo.align, in their order: what a Python user would run for the same work.
Needs `pip install trl==1.16.0 torch transformers datasets`, and peft for an adapter.

    python dpo.py MODEL_FOLDER PAIRS_JSONL STEPS THREADS [full|lora]

The last line is JSON: pairs that were trained on, seconds of training, losses and margins."""
import json
import sys
import tempfile
import time

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

folder, data, steps, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
adapted = sys.argv[5:] == ["lora"]
torch.set_num_threads(threads)
BATCH = 2


class InOrder(DPOTrainer):
    def _get_train_sampler(self, *args, **kwargs):
        return torch.utils.data.SequentialSampler(self.train_dataset)


rows = load_dataset("json", data_files=data, split="train")
rows = rows.select([i % len(rows) for i in range(steps * BATCH)])
peft_config = None
if adapted:
    from peft import LoraConfig

    peft_config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
trainer = InOrder(
    model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
    processing_class=AutoTokenizer.from_pretrained(folder),
    train_dataset=rows,
    peft_config=peft_config,
    # TRL's defaults of bf16 and of working activations out again only cost time on a CPU with memory to spare.
    args=DPOConfig(
        output_dir=tempfile.mkdtemp(), max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=5e-6, beta=0.1,
        lr_scheduler_type="constant", weight_decay=0.0, max_length=None, logging_steps=1, report_to="none",
        save_strategy="no", disable_tqdm=True, use_cpu=True, bf16=False, gradient_checkpointing=False,
        dataloader_pin_memory=False,
    ),
)
start = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - start
logs = [x for x in trainer.state.log_history if "loss" in x]
print(json.dumps({
    "seconds": seconds,
    "pairs": steps * BATCH,
    "losses": [float(x["loss"]) for x in logs],
    "margins": [float(x["rewards/margins"]) for x in logs],
}))
