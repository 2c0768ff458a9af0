"""Where, and in which precision, training computes.

`begin` makes a device the default one: whatever torch makes from then on lies there. What comes from numpy or from a
file does not: `here` takes it there.
"""

import torch


def add_arguments(parser, threads: int = 1) -> None:
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--threads", type=int, default=threads, help="of the processor")


def begin(args, say: bool = True) -> torch.device:
    """Follows --device and --threads; ends the program if there is no such device."""
    torch.set_num_threads(args.threads)
    name = chosen(args)
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit(f"--device {name}: PyTorch sees no such device here; --device cpu works everywhere")
    torch.set_default_device(name)
    torch.set_float32_matmul_precision("high")
    if say:
        print(f"training on {torch.cuda.get_device_name() if name.startswith('cuda') else f'the processor, threads: {args.threads}'}")
    return torch.get_default_device()


def chosen(args) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device


def here(x):
    """A tensor, or what holds some, on the device that training runs on."""
    if isinstance(x, torch.Tensor):
        return x.to(torch.get_default_device())
    if isinstance(x, dict):
        return {k: here(v) for k, v in x.items()}
    return type(x)(here(v) for v in x)


def precision() -> torch.dtype:
    """bf16 where the device multiplies it, f32 where it would only be emulated."""
    device = torch.get_default_device().type
    native = torch.cuda.is_bf16_supported() if device == "cuda" else getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)()
    return torch.bfloat16 if native else torch.float32


def autocast():
    return torch.autocast(torch.get_default_device().type, torch.bfloat16, enabled=precision() == torch.bfloat16)
