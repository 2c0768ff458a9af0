"""In which precision training computes."""

import torch


def autocast():
    """bf16 where the processor multiplies it, f32 where it would only be emulated."""
    return torch.autocast("cpu", torch.bfloat16, enabled=getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)())
