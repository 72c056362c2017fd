"""Loads an export as a stranger would: prints logits of a text, the text after a round trip, and a few new tokens."""

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, text = sys.argv[1:]
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
ids = tokenizer(text, return_tensors="pt").input_ids
with torch.no_grad():
    logits = model(ids).logits[0]
    more = model.generate(ids, max_new_tokens=4, do_sample=False, pad_token_id=0)
print(json.dumps({
    "ids": ids[0].tolist(),
    "text": tokenizer.decode(ids[0]),
    "logits": logits.flatten().tolist(),
    "generated": more.shape[1] - ids.shape[1],
}))
