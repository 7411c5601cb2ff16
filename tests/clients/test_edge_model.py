"""The edge model: its adapter goes in and comes out whole, and computes what PEFT computes."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from clients.edge_model import EdgeModel, base_loads, edge_model
from clients.greedy import greedy_texts
from fl import adapter_file
from fl.adapter import A_SUFFIX, B_SUFFIX, PEFT_PREFIX, Adapter, AdapterSpec, initial_adapter
from fl.aggregation.dual import mixture
from fl.base_model import read_base
from fl.errors import AdapterError, BaseModelError
from fl.sharing import join, part_spec
from tests.clients.learning.sites import tiny_settings
from tests.tiny_models import make_tokenizer

PROMPTS = (
    "Card: place Elmford\nRequest: food\nEnriched:",
    "hello",
    "Card: place Quayside; weather rain; open the mill, the quay\nRequest: a taxi\nEnriched:",
)


def of_rank(model: EdgeModel, rank: int, *, seed: int) -> Adapter:
    """An adapter of a rank with the model's scale, every entry mattering, B included."""
    first = initial_adapter(part_spec(model.spec, rank), model.base.layers, seed=seed)
    rng = np.random.default_rng(seed)
    tensors = {n: rng.normal(0, 0.3, t.shape).astype(np.float32) for n, t in first.tensors.items()}
    return Adapter(spec=first.spec, tensors=tensors)


def drawn(model: EdgeModel, *, seed: int = 0) -> Adapter:
    """One of the model's own rank, whatever rank another test left in it."""
    return of_rank(model, model.spec.rank, seed=seed)


def opened(folder: Path, targets: tuple[str, ...], *, rank: int = 3) -> EdgeModel:
    base = read_base(folder, targets)
    spec = AdapterSpec(
        base_model_fingerprint=base.fingerprint,
        rank=rank,
        alpha=6.0,
        target_modules=targets,
        fan_in_fan_out=base.fan_in_fan_out,
    )
    return EdgeModel(base, spec)


@pytest.fixture(scope="module")
def gpt2(edge_folder: Path) -> EdgeModel:
    return opened(edge_folder, ("c_attn", "c_fc", "c_proj"))


@pytest.fixture(scope="module")
def llama(llama_folder: Path) -> EdgeModel:
    return opened(llama_folder, ("down_proj", "q_proj", "v_proj"))


@pytest.fixture(params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest) -> EdgeModel:
    found: EdgeModel = request.getfixturevalue(request.param)
    return found


def logits(model: EdgeModel, ids: torch.Tensor) -> torch.Tensor:
    weight, bias = model.head()
    with torch.no_grad():
        return torch.nn.functional.linear(model.hidden(ids), weight, bias)


def test_an_adapter_comes_back_bit_for_bit_and_as_a_copy(model: EdgeModel) -> None:
    adapter = drawn(model)
    model.set_adapter(adapter)
    adapter.tensors[next(iter(adapter.tensors))][:] = 0.0
    first = model.adapter()
    assert first.spec == model.spec
    expected = drawn(model)
    assert first.tensors.keys() == expected.tensors.keys()
    for name, tensor in first.tensors.items():
        assert tensor.dtype == np.float32
        assert tensor.tobytes() == expected.tensors[name].tobytes()


def test_a_second_adapter_leaves_nothing_of_the_first(model: EdgeModel) -> None:
    ids = torch.arange(20).reshape(2, 10)
    model.set_adapter(drawn(model, seed=1))
    alone = logits(model, ids)
    model.set_adapter(drawn(model, seed=2))
    assert not torch.allclose(logits(model, ids), alone, atol=1e-2)
    model.set_adapter(drawn(model, seed=1))
    assert torch.equal(logits(model, ids), alone)


def test_the_rank_is_the_adapters_and_directions_may_be_weighted(model: EdgeModel) -> None:
    """FedDPA's weights while learning are the mixture that is served; ranks come and go."""
    ids = torch.arange(20).reshape(2, 10)
    shared, personal = of_rank(model, 3, seed=1), of_rank(model, 5, seed=2)
    model.set_adapter(mixture(shared, personal, 0.3))
    served, text = logits(model, ids), model.generate(["open the quay"], max_new_tokens=8)
    model.set_adapter(join(shared, personal), weights=[0.7] * 3 + [0.3] * 5)
    np.testing.assert_allclose(logits(model, ids), served, rtol=1e-4, atol=1e-4)
    assert model.generate(["open the quay"], max_new_tokens=8) == text
    assert model.adapter().spec.rank == 8
    model.set_adapter(shared)
    alone = logits(model, ids)
    assert not torch.allclose(alone, served, atol=1e-2)
    # a direction that adds nothing changes nothing
    empty = initial_adapter(part_spec(model.spec, 2), model.base.layers, seed=0)
    model.set_adapter(join(shared, empty))
    np.testing.assert_allclose(logits(model, ids), alone, rtol=1e-5, atol=1e-5)


def test_adapters_that_do_not_fit_are_refused_and_change_nothing(gpt2: EdgeModel) -> None:
    good = drawn(gpt2)
    gpt2.set_adapter(good)
    name = next(iter(good.tensors))
    other_spec = Adapter(spec=replace(good.spec, alpha=1.0), tensors=good.tensors)
    missing = Adapter(spec=good.spec, tensors={n: t for n, t in good.tensors.items() if n != name})
    misshapen = Adapter(spec=good.spec, tensors={**good.tensors, name: good.tensors[name].T})
    for bad, says in (
        (other_spec, "alpha=1.0"),
        (missing, "1 adapter tensors"),
        (misshapen, "shape"),
    ):
        with pytest.raises(AdapterError, match=says):
            gpt2.set_adapter(bad)
    for n, tensor in gpt2.adapter().tensors.items():
        assert np.array_equal(tensor, good.tensors[n])


def test_logits_equal_those_of_peft_with_the_same_folder(model: EdgeModel, tmp_path: Path) -> None:
    """Also PEFT's merged weights: there Conv1D needs B A transposed, nn.Linear does not."""
    adapter = drawn(model)
    model.set_adapter(adapter)
    adapter_file.write(tmp_path, adapter)
    base = AutoModelForCausalLM.from_pretrained(model.base.folder)
    peft_model = PeftModel.from_pretrained(base, tmp_path).eval()
    ids = torch.randint(1, 256, (3, 17), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        separate = peft_model(input_ids=ids).logits
        merged_model = peft_model.merge_and_unload()
        merged = merged_model(input_ids=ids).logits
    assert torch.allclose(logits(model, ids), separate, atol=1e-5, rtol=1e-5)
    assert torch.allclose(logits(model, ids), merged, atol=1e-4, rtol=1e-4)

    module = next(iter(sorted(model.base.layers)))
    a = adapter.tensors[PEFT_PREFIX + module + A_SUFFIX]
    b = adapter.tensors[PEFT_PREFIX + module + B_SUFFIX]
    product = adapter.spec.scale * b @ a  # (d_out, d_in)
    weights = load_file(model.base.folder / "model.safetensors")
    before = weights[f"{module}.weight"].numpy()
    after = merged_model.get_submodule(module).weight.detach().numpy()
    delta = (after - before).T if model.base.fan_in_fan_out else after - before
    assert np.allclose(delta, product, atol=1e-5)


def test_gradients_equal_those_of_peft(model: EdgeModel, tmp_path: Path) -> None:
    adapter = drawn(model)
    model.set_adapter(adapter)
    adapter_file.write(tmp_path, adapter)
    base = AutoModelForCausalLM.from_pretrained(model.base.folder)
    peft_model = PeftModel.from_pretrained(base, tmp_path, is_trainable=True).eval()
    ids = torch.randint(1, 256, (2, 9), generator=torch.Generator().manual_seed(1))
    peft_model(input_ids=ids).logits.square().mean().backward()
    weight, bias = model.head()
    ours = torch.nn.functional.linear(model.hidden(ids), weight, bias).square().mean()
    ours.backward()  # type: ignore[no-untyped-call]
    expected = {
        name.replace(".default.", "."): parameter.grad
        for name, parameter in peft_model.named_parameters()
        if parameter.requires_grad
    }
    for name, parameter in model.lora_parameters().items():
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, expected[name], atol=1e-5, rtol=1e-3), name
        parameter.grad = None


def test_bfloat16_stays_near_float32(model: EdgeModel) -> None:
    model.set_adapter(drawn(model))
    ids = torch.randint(1, 256, (3, 12), generator=torch.Generator().manual_seed(2))
    exact = logits(model, ids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = logits(model, ids)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().mean() < 0.03 * exact.std()


def test_generation_equals_transformers_own_greedy_search(model: EdgeModel) -> None:
    """One prompt at a time without padding there, one left-padded batch here."""
    model.set_adapter(drawn(model, seed=4))
    texts = model.generate(PROMPTS, max_new_tokens=14)
    network = model._network
    for prompt, text in zip(PROMPTS, texts, strict=True):
        ids = torch.tensor([model.token_ids(prompt)])
        with torch.no_grad():
            whole = network.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=14,
                do_sample=False,
                pad_token_id=model.end_id,
                eos_token_id=model.end_id,
            )
        new = model.tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)
        assert text == new.strip()


def test_rows_end_at_their_end_mark_while_others_go_on(gpt2: EdgeModel) -> None:
    """The end mark is a token that the rows write at different times, one of them never."""
    gpt2.set_adapter(initial_adapter(gpt2.spec, gpt2.base.layers, seed=0))  # adds nothing
    prompts = [gpt2.token_ids(prompt) for prompt in PROMPTS]

    def decode(end_id: int) -> list[list[int]]:
        limits = [10] * len(prompts)
        new = greedy_texts(gpt2.writer._network, prompts, limits=limits, end_id=end_id)
        for tokens, prompt in zip(new, prompts, strict=True):
            ended = len(tokens.ids) < 10
            written = [*tokens.ids, *([end_id] if ended else [])]
            ids = torch.tensor([[*prompt, *written]])
            log_p = logits(gpt2, ids)[0, len(prompt) - 1 : -1].log_softmax(-1)
            expected = -log_p[torch.arange(len(written)), torch.tensor(written)]
            np.testing.assert_allclose(tokens.nats, expected, atol=1e-4)
        return [tokens.ids for tokens in new]

    whole = decode(-1)
    for end_id in {token for row in whole for token in row}:
        expected = [row[: row.index(end_id)] if end_id in row else row for row in whole]
        assert decode(end_id) == expected
    assert gpt2.generate([], max_new_tokens=4) == []


def test_a_prompt_longer_than_the_model_is_cut_and_no_room_is_an_error(gpt2: EdgeModel) -> None:
    assert isinstance(gpt2.generate(["rain " * 500], max_new_tokens=8)[0], str)
    with pytest.raises(BaseModelError, match="256 positions"):
        gpt2.generate(["rain"], max_new_tokens=256)


def test_the_base_is_loaded_once_a_process_and_again_when_its_files_change(
    edge_folder: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(edge_folder, tmp_path / "edge")  # no other test has loaded this one
    settings = tiny_settings(own, tmp_path)
    before = base_loads()
    first = edge_model(settings)
    assert all(edge_model(settings) is first for _ in range(5))
    assert base_loads() == before + 1
    assert first.spec.rank == 4
    assert edge_model(replace(settings, personal="none")) is first  # it takes adapters of any rank
    assert base_loads() == before + 1


def test_a_gpt2_base_shape_in_shards_loads_and_learns_a_step(tmp_path: Path) -> None:
    """12 x 768 with a small vocabulary, which only makes the test lighter."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=512, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(tmp_path, max_shard_size="100MB")
    make_tokenizer().save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    model = opened(tmp_path, ("c_attn",))
    assert model.base.layers["transformer.h.11.attn.c_attn"] == (2304, 768)
    model.set_adapter(drawn(model))
    loss = model.hidden(torch.arange(8)[None]).square().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in model.lora_parameters().values())


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=300)).save_pretrained(
        tmp_path
    )
    with pytest.raises(BaseModelError, match="no tokenizer"):
        opened(tmp_path, ("c_attn",))
