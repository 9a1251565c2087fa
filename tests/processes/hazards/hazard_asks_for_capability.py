import torch

torch.cuda.get_device_capability()
