"""LoRA of the cloud's own model, published and gated as every release is."""
