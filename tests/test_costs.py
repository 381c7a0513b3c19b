"""Los costes que se predicen son los que se miden, y los que otros ya contaron."""

from dataclasses import replace

import pytest
from checks import each

from course_lib.costs import (
    GIB,
    Memory,
    Price,
    bill,
    config_shape,
    fits,
    inference_memory,
    lora_weights,
    memory_table,
    training_flops,
    training_memory,
    training_time,
)
from course_lib.original import original_record
from taller import memoria


@pytest.fixture(scope="module")
def gpt2():
    from transformers import GPT2Config

    return config_shape(GPT2Config())


def mistral_config(**changes):
    from transformers import MistralConfig

    seven = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32_000}
    return MistralConfig(**(seven | heads | changes))


@pytest.fixture(scope="module")
def mistral():
    return config_shape(mistral_config())


def test_gpt2_has_the_weights_its_card_says(gpt2):
    assert gpt2.weights == 124_439_808
    assert gpt2.embeddings == 50_257 * 768 + 1024 * 768
    assert gpt2.head == 0  # comparte la tabla con la entrada
    assert gpt2.blocks == 85_056_000  # 12 bloques de 7.087.872 y la norma final de 1.536


def test_mistral_7b_and_openchat_have_the_weights_of_their_checkpoints(mistral):
    assert mistral.weights == 7_241_732_096
    assert mistral.head == 32_000 * 4096
    openchat = config_shape(mistral_config(vocab_size=32_002))
    assert openchat.weights == 7_241_748_480  # dos tokens más en dos tablas de 4.096


def test_tinyllama_has_the_eleven_hundred_million_of_its_name():
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=22,
        num_attention_heads=32,
        num_key_value_heads=4,
        vocab_size=32_000,
    )
    assert config_shape(config).weights == 1_100_048_384


def test_lora_on_the_attention_of_gpt2_is_twelve_times_eight_times_3072(gpt2):
    assert lora_weights(gpt2, rank=8, targets=["c_attn"]) == 294_912
    assert lora_weights(gpt2, rank=16) == 2 * 294_912


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("down_proj",), ("k_proj", "gate_proj")])
def test_lora_adds_the_weights_that_peft_adds(targets):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = memoria.mistral(hidden_size=64, intermediate_size=96, num_hidden_layers=3)
    model = get_peft_model(
        AutoModelForCausalLM.from_config(config), LoraConfig(r=4, target_modules=list(targets))
    )
    assert lora_weights(config_shape(config), 4, targets) == model.get_nb_trainable_parameters()[0]


@pytest.mark.parametrize("family", ["gpt2", "mistral"])
def test_the_default_targets_are_those_of_peft(family):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = getattr(memoria, family)()
    model = get_peft_model(AutoModelForCausalLM.from_config(config), LoraConfig(r=8))
    assert lora_weights(config_shape(config)) == model.get_nb_trainable_parameters()[0]


def test_full_tuning_in_single_precision_is_sixteen_bytes_a_weight(gpt2):
    memory = training_memory(gpt2, batch=1, length=1, accumulation=2)
    kept = sum(memory.parts[part] for part in ("pesos", "gradientes", "optimizador"))
    table = 50_257 * 768 * 4  # el segundo gradiente de la tabla compartida, de paso
    assert kept - table == 16 * 124_439_808


def test_the_loss_keeps_three_copies_of_the_logits_of_823_megabytes(gpt2):
    memory = training_memory(gpt2, batch=32, length=128)
    assert memory.moment == "al calcular la pérdida"
    assert memory.parts["logits"] == 3 * 823_410_688  # 32 × 128 × 50.257 × 4 bytes


def test_the_cache_of_mistral_grows_128_kib_a_token(mistral):
    # 32 bloques × (clave y valor) × 8 cabezas × 128 × 2 bytes.
    short, long = (inference_memory(mistral, prompt=1, new_tokens=n) for n in (1000, 2000))
    assert long.parts["caché"] - short.parts["caché"] == 1000 * 131_072


def test_four_bits_leave_the_tables_as_they_were(mistral):
    weights = inference_memory(mistral, prompt=1, four_bits=True).parts["pesos"]
    tables = 2 * 32_000 * 4096 * 2
    assert weights - tables == pytest.approx((4.127 / 8) * (mistral.weights - tables / 2), rel=1e-3)


@pytest.mark.parametrize(
    "case",
    ["GPT-2, completo, lote mínimo", "Mistral, genera mucho"],
)
def test_the_prediction_is_within_15_percent_of_the_measured_peak(case):
    assert memoria.predicted(case) == pytest.approx(memoria.measured(case), rel=memoria.LIMIT)


@pytest.mark.parametrize(
    "run",
    [
        {"batch": 4, "length": 64},
        {"batch": 4, "length": 64, "method": "lora"},
        {"batch": 2, "length": 64, "checkpointing": True},
    ],
)
@pytest.mark.parametrize("family", ["gpt2", "mistral"])
def test_so_it_is_for_a_small_training_of_each_kind(family, run):
    names = {"gpt2": ("n_embd", "n_layer"), "mistral": ("hidden_size", "num_hidden_layers")}
    config = getattr(memoria, family)(
        **dict(zip(names[family], (64, 6), strict=True)), vocab_size=1000
    )
    guess = training_memory(config_shape(config), **run).total
    assert guess == pytest.approx(memoria.peak(lambda: memoria.train(config, **run)), rel=0.15)


def test_the_peak_counts_what_lives_at_once_and_not_what_was_ever_asked_for():
    import torch

    def work():
        for _ in range(5):
            torch.zeros(250_000)  # un megabyte cada vez, que se suelta enseguida
        torch.zeros(500_000)

    assert 2_000_000 <= memoria.peak(work) < 2_100_000


def test_the_operations_of_the_original_run_are_those_of_its_record(gpt2):
    tokens = 3 * 76_052 * 128
    flops = training_flops(gpt2, tokens)
    assert flops == pytest.approx(6 * 85.056e6 * 29.204e6, rel=1e-4)
    assert flops == pytest.approx(original_record()["flos"], rel=0.01)


def test_lora_saves_a_third_of_the_operations_and_not_more(gpt2):
    full, lora = (training_flops(gpt2, 1000, method=m) for m in ("full", "lora"))
    assert 2 / 3 < lora / full < 0.68


def test_lora_moves_less_memory_than_full_and_four_bits_less_than_lora(mistral):
    run = {"batch": 1, "length": 512, "precision": "bf16"}
    full, lora, qlora = (
        training_memory(mistral, method=m, **run).total for m in ("full", "lora", "qlora")
    )
    assert full > 3 * lora > 3 * qlora


def test_a_bill_carries_the_source_of_its_price():
    text = bill(3600 * 35, Price(1.2, "€", "mi proveedor", "2026-11"))
    assert text == "35,0 h × 1,20 €/h = 42,00 € (mi proveedor, 2026-11)"
    assert training_time(1e15, 1e13) == 100


def test_what_fits_leaves_a_margin():
    sizes = {13.0: "cabe", 14.0: "justo", 15.1: "no cabe"}
    for gib, verdict in sizes.items():
        assert fits(Memory({"pesos": gib * GIB}, ""), 15) == verdict


def test_the_table_says_the_parts_or_where_they_fit():
    row = Memory({"pesos": 1.5 * GIB, "logits": 0.25 * GIB}, "al acabar")
    parts = memory_table({"uno": row, "otro": replace(row, parts={"pesos": GIB})})
    assert "| uno | 1,50 | 0,25 | **1,75** | al acabar |" in parts
    assert "| otro | 1,00 | — | **1,00** | al acabar |" in parts
    assert "| uno | **1,75** | cabe | no cabe |" in memory_table({"uno": row}, {"T4": 15, "x": 1})


def test_an_architecture_without_formulas_is_refused_by_name():
    from transformers import MixtralConfig

    with pytest.raises(ValueError, match=r"arquitectura «mixtral».*gpt2, llama"):
        config_shape(MixtralConfig())


@each(
    ("change", "message"),
    [
        ({"method": "dora"}, "elige entre full, lora, qlora"),
        ({"precision": "fp8"}, "elige entre fp32, mixta, bf16"),
        ({"optimizer": "adam"}, "adamw_8bit"),
        ({"method": "lora", "targets": ("q_proj",)}, "elige targets entre c_attn, c_fc, c_proj"),
    ],
)
def test_a_setting_that_does_not_exist_is_told_the_ones_that_do(gpt2, change, message):
    with pytest.raises(ValueError, match=message):
        training_memory(gpt2, batch=1, length=8, **change)


def test_a_speed_of_zero_is_refused():
    with pytest.raises(ValueError, match="ha de ser positiva"):
        training_time(1.0, 0)
