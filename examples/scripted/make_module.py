"""A TorchScript module: the distance of points from the origin, and one layer of weights. make_module.py OUT.pt"""
import sys

import torch


class Scorer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x):
        return torch.cat([self.layer(x), x.pow(2).sum(1, keepdim=True).sqrt()], dim=1)


torch.manual_seed(1)
torch.jit.save(torch.jit.script(Scorer().eval()), sys.argv[1])
