"""A model trained by IOTA, for transformers: AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).

Computes what the stages of the run compute one after another, with the narrow boundaries between them and the
wire codec's rounding at each, because the model was trained with both. There is no cache of keys and values: each
new token computes the whole window anew.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutput

# Values that share one power of two in the int8 and int4 codecs.
BLOCK = 32


class IotaConfig(PretrainedConfig):
    model_type = "iota"

    def __init__(self, vocab_size=256, hidden_size=128, num_hidden_layers=6, num_attention_heads=4,
                 num_key_value_heads=4, intermediate_size=344, max_position_embeddings=128, rope_base=10000,
                 bottleneck=16, boundaries=(), wire="int8", **kwargs):
        kwargs.setdefault("use_cache", False)
        kwargs.setdefault("tie_word_embeddings", False)
        super().__init__(**kwargs)
        self.vocab_size, self.hidden_size, self.num_hidden_layers = vocab_size, hidden_size, num_hidden_layers
        self.num_attention_heads, self.num_key_value_heads = num_attention_heads, num_key_value_heads
        self.intermediate_size, self.max_position_embeddings = intermediate_size, max_position_embeddings
        self.rope_base, self.bottleneck, self.wire = rope_base, bottleneck, wire
        # Layers in front of which the model is cut.
        self.boundaries = list(boundaries)


def crossed(values, wire):
    """What the next stage sees of values that were coded and decoded."""
    if wire == "f32":
        return values
    if wire == "bf16":
        return values.to(torch.bfloat16).to(values.dtype)
    top = {"int8": 127, "int4": 7}[wire]
    flat = values.float().flatten()
    blocks = F.pad(flat, (0, -flat.numel() % BLOCK)).view(-1, BLOCK)
    # The smallest power of two with which the largest value is a code: frexp gives m in [0.5, 1).
    mantissa, exponent = torch.frexp(blocks.abs().amax(dim=1, keepdim=True))
    top_mantissa, top_exponent = torch.frexp(torch.tensor(float(top)))
    exponent = (exponent - top_exponent + (mantissa > top_mantissa)).clamp(min=-126)
    unit = torch.ldexp(torch.ones_like(mantissa), exponent)
    codes = torch.round(blocks / unit).clamp(-top, top)
    return (codes * unit).flatten()[: flat.numel()].view_as(values).to(values.dtype)


class Boundary(nn.Module):
    """Leaves in `bottleneck` channels, each token equally large, and comes back, beside an identity path."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        if config.bottleneck < config.hidden_size:
            self.encoder = nn.Linear(config.hidden_size, config.bottleneck, bias=False)
            self.decoder = nn.Linear(config.bottleneck, config.hidden_size, bias=False)

    def forward(self, x):
        b, d = self.config.bottleneck, self.config.hidden_size
        if b == d:
            return crossed(x, self.config.wire)
        z = F.rms_norm(self.encoder(x) + x[..., :b], (b,), eps=1e-5) * (d / b) ** 0.5
        z = crossed(z, self.config.wire)
        return self.decoder(z) + F.pad(z, (0, d - b))


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        d, heads, kv = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        self.heads, self.kv, self.width = heads, kv, d // heads
        self.attention_norm = nn.RMSNorm(d, eps=1e-5)
        self.qkv = nn.Linear(d, (heads + 2 * kv) * self.width, bias=False)
        self.output = nn.Linear(d, d, bias=False)
        self.mlp_norm = nn.RMSNorm(d, eps=1e-5)
        self.gate_up = nn.Linear(d, 2 * config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, d, bias=False)

    def forward(self, x, cos, sin):
        x = x + self.output(self.attention(self.qkv(self.attention_norm(x)), cos, sin))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)

    def attention(self, qkv, cos, sin):
        windows, tokens, _ = qkv.shape
        every = qkv.view(windows, tokens, self.heads + 2 * self.kv, self.width)
        turning, value = every.split([self.heads + self.kv, self.kv], dim=2)
        a, b = turning.chunk(2, dim=-1)
        turned = torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
        q, k = turned.split([self.heads, self.kv], dim=2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, value))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv)
        return out.transpose(1, 2).reshape(windows, tokens, self.heads * self.width)


class IotaForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = IotaConfig

    def __init__(self, config):
        super().__init__(config)
        d = config.hidden_size
        self.embed = nn.Embedding(config.vocab_size, d)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.boundary = nn.ModuleList(Boundary(config) for _ in config.boundaries)
        self.norm = nn.RMSNorm(d, eps=1e-5)
        self.head = nn.Linear(d, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def get_output_embeddings(self):
        return self.head

    def rotary(self, tokens, device):
        half = self.config.hidden_size // self.config.num_attention_heads // 2
        steps = torch.arange(half, dtype=torch.float64, device=device)
        frequency = torch.tensor(float(self.config.rope_base), dtype=torch.float64, device=device) ** (-steps / half)
        angles = torch.arange(tokens, dtype=torch.float64, device=device)[:, None, None] * frequency
        return angles.cos().float(), angles.sin().float()

    def forward(self, input_ids, labels=None, **_):
        x = self.embed(input_ids)
        cos, sin = self.rotary(input_ids.shape[1], input_ids.device)
        cuts = dict(zip(self.config.boundaries, self.boundary))
        for number, layer in enumerate(self.layers):
            if number in cuts:
                x = cuts[number](x)
            x = layer(x, cos.to(x.dtype), sin.to(x.dtype))
        logits = self.head(self.norm(x))
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(self, input_ids, **_):
        # Positions beyond a window were never trained.
        return {"input_ids": input_ids[:, -self.config.max_position_embeddings:]}
