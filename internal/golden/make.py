"""Writes again what the reference libraries compute for the files in testdata.

    python make.py          then `git diff testdata` says what has changed: nothing, with these versions

Python 3.11 with torch 2.15.0 (CPU), transformers 5.24.0, tokenizers 0.23.3, safetensors 0.8.0, numpy, pillow 13.0.0. The tiny models, pictures and
texts in testdata are inputs, of random numbers and made once; they stay as they are.
"""

import gzip
import json
from pathlib import Path

HERE = Path(__file__).parent / "testdata"


def write_json(path, rows):
    path.write_text("[\n" + ",\n".join(json.dumps(r, sort_keys=True) for r in rows) + "\n]\n")


def texts(path):
    return [row["text"] for row in json.loads(path.read_text())]


def tokens():
    from transformers import BertTokenizer, CLIPTokenizer

    own = CLIPTokenizer.from_pretrained(HERE / "pipeline" / "tokenizer")
    path = HERE / "text" / "tokens.json"
    write_json(path, [
        {"text": t, "ids": own(t, padding="max_length", max_length=77, truncation=True).input_ids, "untruncated": len(own(t).input_ids)} for t in texts(path)
    ])

    # The published merges, from which the vocabulary follows.
    lines = gzip.decompress((HERE / "clip-bpe" / "merges.txt.gz").read_bytes()).decode().split("\n")[1:]
    merges = [tuple(line.split()) for line in lines if line]
    plain = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    alphabet = [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]
    names = alphabet + [c + "</w>" for c in alphabet] + ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    published = CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=merges)
    path = HERE / "clip-bpe" / "tokens.json"
    write_json(path, [{"text": t, "ids": published(t, add_special_tokens=False).input_ids} for t in texts(path)])

    bert = BertTokenizer.from_pretrained(HERE / "imagereward")
    bert.add_special_tokens({"bos_token": "[DEC]"})
    bert.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    path = HERE / "imagereward" / "tokens.json"
    write_json(path, [
        {"text": t, "ids": bert(t, padding="max_length", max_length=35, truncation=True).input_ids, "untruncated": len(bert(t).input_ids)} for t in texts(path)
    ])


if __name__ == "__main__":
    tokens()
