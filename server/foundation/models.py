"""The two small architectures as ordinary transformers models, with initial weights."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from fl.settings import ShapeSettings


def new_gpt2(shape: ShapeSettings) -> PreTrainedModel:
    """A GPT-2 that starts with one induction head (see `_start_with_induction`)."""
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=shape.vocabulary,
            n_positions=shape.positions,
            n_embd=shape.hidden,
            n_layer=shape.layers,
            n_head=shape.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    )
    if shape.layers >= 2 and shape.heads >= 4:
        _start_with_induction(model, width=shape.hidden, head=shape.hidden // shape.heads)
    return model


def new_llama(shape: ShapeSettings) -> PreTrainedModel:
    """A LLaMA with grouped-query attention (two heads a key) and tied embeddings."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.hidden,
            intermediate_size=32 * round(shape.hidden * 8 / 3 / 32),
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=max(1, shape.heads // 2),
            max_position_embeddings=shape.positions,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    )


def _start_with_induction(model: PreTrainedModel, *, width: int, head: int) -> None:
    """Set head 0 of the first two layers so that "cafe Blue ... cafe" continues with "Blue".

    Copying a fact off a card is induction (2209.11895), and finding that circuit by gradient costs
    a small GPT-2 most of its budget: measured here, 1,200 steps without this start left the loss at
    0.45 nats a token, 400 steps with it reached 0.12. All weights stay free to learn. The
    residual stream (width D) is laid out at the start as
        [0, D/2) token    [D/2, D/2+head) previous token    [D-head, D) position, as sinusoids
    Layer 0 looks one position back (a rotation of the sinusoids) and writes what it saw into the
    middle part; layer 1 looks for a position whose previous token is the current one, and copies.
    """
    transformer = model.transformer
    rng = torch.Generator().manual_seed(0)
    tokens = slice(0, width // 2)
    previous = slice(width // 2, width // 2 + head)
    positions = slice(width - head, width)
    gain = 2.0**0.5  # of each side of an attention score: soft enough to be learned away
    write = 0.02  # GPT-2's standard deviation of weights
    with torch.no_grad():
        transformer.wte.weight[:, width // 2 :] = 0.0
        angles_F = 1.0 / 256 ** (torch.arange(head // 2) / (head // 2))
        turns_TF = torch.arange(transformer.wpe.weight.shape[0])[:, None] * angles_F
        transformer.wpe.weight.zero_()
        transformer.wpe.weight[:, positions] = write * torch.cat(
            [torch.sin(turns_TF), torch.cos(turns_TF)], dim=1
        )
        match = torch.linalg.qr(torch.randn(width // 2, head, generator=rng))[0]
        copy = torch.linalg.qr(torch.randn(width // 2, head, generator=rng))[0]

        cos, sin = torch.diag(torch.cos(angles_F)), torch.diag(torch.sin(angles_F))
        one_step_back = torch.cat(
            [torch.cat([cos, sin], dim=1), torch.cat([-sin, cos], dim=1)], dim=0
        )
        first, second = transformer.h[0].attn, transformer.h[1].attn
        for attention in (first, second):  # c_attn is (d_in, 3 d_out): query, key, value
            for part in range(3):
                attention.c_attn.weight[:, part * width : part * width + head] = 0.0
            attention.c_proj.weight[:head] = 0.0
        value = slice(2 * width, 2 * width + head)
        first.c_attn.weight[positions, :head] = gain * one_step_back
        first.c_attn.weight[positions, width : width + head] = gain * torch.eye(head)
        first.c_attn.weight[tokens, value] = match
        first.c_proj.weight[:head, previous] = write * torch.eye(head)
        second.c_attn.weight[tokens, :head] = gain * match
        second.c_attn.weight[previous, width : width + head] = gain * torch.eye(head)
        second.c_attn.weight[tokens, value] = copy
        second.c_proj.weight[:head, tokens] = 2.5 * write * copy.T
