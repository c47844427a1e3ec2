"""Writes bitsandbytes.safetensors: small weights as bitsandbytes 0.50.2 stores
them, and under values.NAME what its plain dequantisation makes of them."""
import bitsandbytes.functional as bf
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute as plain
from safetensors.torch import save_file

g, out = torch.Generator().manual_seed(3), {}
for name, dtype, kind, double, storage in [
    ("a.weight", torch.bfloat16, "nf4", True, torch.uint8),
    ("b.weight", torch.float32, "nf4", False, torch.uint8),
    ("c.weight", torch.float16, "nf4", True, torch.bfloat16),
    ("d.weight", torch.bfloat16, "fp4", False, torch.uint8),
]:
    w = (torch.randn((6, 20), generator=g) * 0.05).to(dtype)
    codes, s = bf.quantize_4bit(w, quant_type=kind, compress_statistics=double, quant_storage=storage)
    out[name] = codes
    out |= {f"{name}.{k}": v for k, v in s.as_dict(packed=True).items()}
    absmax = bf.dequantize_blockwise(s.absmax, s.state2) + s.offset if double else s.absmax
    out["values." + name] = plain(codes.view(torch.uint8).reshape(-1), absmax, s.code, 64, w.shape, dtype)
w = torch.randn((3, 7), generator=g)
top = w.abs().amax(1)
out["e.weight"] = torch.round(w * (127.0 / top[:, None])).to(torch.int8)
out["e.SCB"] = top
out["values.e.weight"] = out["e.weight"] * top[:, None] * 7.874015718698502e-3
save_file({k: v.contiguous() for k, v in out.items()}, "bitsandbytes.safetensors", metadata={"format": "pt"})
