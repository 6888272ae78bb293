# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["transformers==4.48.3", "flax==0.11.2", "jax==0.6.2", "numpy==2.3.5"]
#
# [tool.linnet]
# library = "transformers"
# ///
"""Small Flax models from Hugging Face's transformers with random weights: outputs, generation."""

import jax
import jax.numpy as jnp
import transformers as hf
from showing import show, step

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50}
BERT = SMALL | {"intermediate_size": 32, "max_position_embeddings": 32}
GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 50, "n_positions": 32}
LLAMA = BERT | {"num_key_value_heads": 1}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 50}
IMAGES = {"image_size": 32, "patch_size": 8} | {k: v for k, v in BERT.items() if k != "vocab_size"}


def main():
    """Runs models of five kinds."""
    ids = jnp.arange(12).reshape(2, 6) % 50
    bert = hf.FlaxBertForMaskedLM(hf.BertConfig(**BERT), seed=0)
    show("bert", bert(ids).logits)
    step()
    show("bert training", bert(ids, train=True, dropout_rng=jax.random.key(1)).logits)
    show("bert params", bert.params)

    gpt = hf.FlaxGPT2LMHeadModel(hf.GPT2Config(bos_token_id=0, eos_token_id=1, **GPT), seed=0)
    generated = gpt.generate(ids, max_length=10, do_sample=True, prng_key=jax.random.key(2))
    show("gpt2 sampled", generated.sequences)
    llama = hf.FlaxLlamaForCausalLM(hf.LlamaConfig(**LLAMA), seed=0)
    show("llama", llama(ids).logits)
    t5 = hf.FlaxT5ForConditionalGeneration(hf.T5Config(decoder_start_token_id=0, **T5), seed=0)
    show("t5", t5(ids, decoder_input_ids=ids).logits)
    vit = hf.FlaxViTForImageClassification(hf.ViTConfig(**IMAGES), seed=0)
    show("vit", vit(jnp.linspace(0, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)).logits)


if __name__ == "__main__":
    main()
