"""Full fine-tuning of a language model with TRL on the rows of sft.align, in their order: what a Python user would run for
the same work. Needs `pip install trl==1.16.0 torch transformers datasets`.

    python sft.py MODEL_FOLDER ROWS_JSONL STEPS THREADS [full|lora]

The last line is JSON: tokens that went through forward and backward, seconds of training, losses."""
import json
import sys
import tempfile
import time

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

folder, data, steps, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
adapted = sys.argv[5:] == ["lora"]
torch.set_num_threads(threads)
BATCH = 4


class Counting(SFTTrainer):
    """Counts the tokens that are no padding."""

    tokens = 0

    def compute_loss(self, model, inputs, *args, **kwargs):
        Counting.tokens += int(inputs["attention_mask"].sum())
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _get_train_sampler(self, *args, **kwargs):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def row(x):
    return {
        "prompt": f"<|im_start|>user\n{x['question']}<|im_end|>\n<|im_start|>assistant\n",
        "completion": x["answer"],
    }


rows = load_dataset("json", data_files=data, split="train")
rows = rows.select([i % len(rows) for i in range(steps * BATCH)])
rows = rows.map(row, remove_columns=rows.column_names)
peft_config = None
if adapted:
    from peft import LoraConfig

    peft_config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
trainer = Counting(
    model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
    processing_class=AutoTokenizer.from_pretrained(folder),
    train_dataset=rows,
    peft_config=peft_config,
    # TRL's defaults of bf16 and of working activations out again only cost time on a CPU with memory to spare.
    args=SFTConfig(
        output_dir=tempfile.mkdtemp(), max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=2e-5,
        lr_scheduler_type="constant", weight_decay=0.0, max_length=None, logging_steps=1, report_to="none",
        save_strategy="no", disable_tqdm=True, use_cpu=True, bf16=False, gradient_checkpointing=False,
        dataloader_pin_memory=False,
    ),
)
start = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - start
losses = [float(x["loss"]) for x in trainer.state.log_history if "loss" in x]
print(json.dumps({"seconds": seconds, "tokens": Counting.tokens, "losses": losses}))
