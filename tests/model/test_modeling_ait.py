# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from golden_data import load_case, relative_error
from golden_models import golden_solver
from safetensors.torch import load_file
from tiny import mixed_config, tiny_config
from torch import nn

from ait_hf import AiTForDenseTokenGeneration, AiTForDepthEstimation, AiTModel
from ait_hf.conversion.vq_tokenizer import convert_vq_tokenizer_state_dict
from ait_hf.model.loss_ait import silog_loss, token_cross_entropy
from ait_hf.model.sequences_ait import TaskGrammar


@pytest.mark.parametrize(
    "case, parallel", [("03_transformer_train_ar", False), ("03_transformer_train_parallel", True)]
)
def test_teacher_forcing_matches_the_released_model(golden_dir, case, parallel):
    _, tensors = load_case(golden_dir, case)
    model = golden_solver(golden_dir, parallel)
    vocabulary = model.config.vocabulary
    tokens, task_ids = tensors["input_seq"], tensors["task_ids"]
    if parallel:
        tokens = torch.full_like(tokens, vocabulary.parallel_token_id)
    ids = torch.cat([vocabulary.size + task_ids[:, None], tokens], dim=1)
    with torch.no_grad():
        outputs = model(pixel_values=tensors["src"], decoder_input_ids=ids, task_ids=task_ids)
    assert relative_error(outputs.encoder_last_hidden_state, tensors["memory"]) < 1e-5
    assert relative_error(outputs.logits, tensors["logits"]) < 1e-5


@pytest.mark.parametrize(
    "case, soft_solver, parallel",
    [
        ("03_transformer_infer_depth_hard", False, False),
        ("03_transformer_infer_depth_soft", True, False),
        ("03_transformer_infer_depth_parallel", False, True),
    ],
)
def test_generation_matches_the_released_model(golden_dir, case, soft_solver, parallel):
    _, tensors = load_case(golden_dir, case)
    model = golden_solver(golden_dir, parallel)
    outputs = model.generate(
        encoder_outputs=model.model.encoder(pixel_values=tensors["src"]),
        task="depth",
        soft_solver=soft_solver,
        output_logits=True,
    )
    codes = model.config.vocabulary.codebooks["depth"]
    assert torch.equal(outputs.sequences[:, 1:] - codes.start, tensors["pred_tokens"])
    logits = torch.stack(outputs.logits, dim=1)
    assert relative_error(logits, tensors["step_logits"]) < 2e-5
    assert relative_error(outputs.soft_tokens, tensors["pred_logits"].softmax(-1)) < 2e-5
    assert outputs.num_forwards == (1 if parallel else 25)


def test_depth_losses_match_the_released_head(golden_dir):
    _, tensors = load_case(golden_dir, "04_depth_head")
    stored = load_file(golden_dir / "04_depth_head" / "weights.safetensors")
    weights = {key.removeprefix("vqvae."): tensor for key, tensor in stored.items()}
    config = tiny_config(num_reserved_ids=4)
    config.tasks["depth"]["soft_temperature"] = 0.8
    assert config.vocab_size == 113 and config.vocabulary.codebooks["depth"].start == 89
    model = AiTForDenseTokenGeneration(config)
    model.tokenizers["depth"].load_state_dict(
        convert_vq_tokenizer_state_dict(weights, model.config.tokenizers["depth"])
    )
    objective, tokenizer = model.objectives["depth"], model.tokenizers["depth"]
    sequence = objective.complete(objective.draft(tensors["depth"][:, 0]), tokenizer)
    tokens = sequence.tokens
    assert torch.equal(tokens, tensors["target_seq"]) and torch.equal(sequence.labels, tokens)
    assert torch.equal(model.grammar("depth").decoder_input_ids(tokens)[:, 1:], tensors["input_seq"])
    logits = tensors["logits"].requires_grad_()
    outputs = objective.loss(logits.flatten(0, 1), sequence, tokenizer)
    loss, decoded = outputs.total, outputs.decoded
    loss.backward()
    assert relative_error(decoded.detach(), tensors["soft_depth"]) < 1e-5
    assert relative_error(loss.detach(), tensors["loss"]) < 1e-5
    # One pixel is near the clipping depth, where 1 / prediction amplifies rounding: float64 puts the golden gradient
    # itself 1e-3 away.
    assert relative_error(logits.grad, tensors["grad_logits"]) < 5e-4
    assert relative_error(token_cross_entropy(logits.detach(), tokens) / tokens.numel(), tensors["ce"]) < 1e-5
    assert relative_error(silog_loss(decoded.detach(), tensors["depth"][:, 0]), tensors["decoder_aux_ce"]) < 1e-4


def test_silog_has_its_closed_form_and_ignores_holes():
    target = torch.tensor([1.0, 2.0, 0.0, 4.0])
    # A constant factor f leaves sqrt(d^2 - d^2 / 2) = |log f| / sqrt(2).
    assert torch.isclose(silog_loss(3 * target, target), torch.log(torch.tensor(3.0)) / 2**0.5)
    assert silog_loss(3 * target, target, variance_focus=1.0) < 1e-3  # then a factor costs nothing
    assert torch.isclose(silog_loss(0 * target, target.sign(), minimum=0.1), torch.log(torch.tensor(10.0)) / 2**0.5)
    assert silog_loss(torch.ones(3, requires_grad=True), torch.zeros(3)) == 0


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return AiTForDepthEstimation(tiny_config()).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 96, 96, generator=torch.Generator().manual_seed(1))


def test_depth_estimation_returns_metres_and_uncertainty(model, images):
    outputs = model(images)
    assert outputs.predicted_depth.shape == outputs.uncertainty.shape == (3, 96, 96)
    assert outputs.predicted_depth.min() >= 1e-3
    assert outputs.uncertainty.min() >= 0 and outputs.uncertainty.max() <= 1


def test_batched_equals_single(model, images):
    batched = model(images).predicted_depth
    single = torch.cat([model(image[None]).predicted_depth for image in images])
    torch.testing.assert_close(batched, single, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("parallel", [False, True])
def test_save_load_and_meta_initialisation_give_identical_outputs(images, tmp_path, parallel):
    torch.manual_seed(0)
    model = AiTForDenseTokenGeneration(tiny_config(parallel=parallel)).eval()
    model.tokenizers["depth"].quantizer.embedding.weight.data.normal_()
    model.generation_config.soft_temperature = 0.5
    model.save_pretrained(tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*.safetensors")) == ["model.safetensors"]
    loaded, info = AiTForDenseTokenGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert loaded.generation_config.soft_temperature == 0.5
    assert type(loaded.generation_config) is type(model.generation_config)
    first, second = model.generate(pixel_values=images), loaded.generate(pixel_values=images)
    assert torch.equal(first.sequences, second.sequences)
    # Not to the bit: the CPU's matrix kernels round by the alignment of the weights in memory.
    torch.testing.assert_close(first.predicted_depth, second.predicted_depth, rtol=1e-5, atol=1e-6)
    with torch.device("meta"):
        skeleton = AiTForDenseTokenGeneration(tiny_config(parallel=parallel)).eval()
    skeleton.load_state_dict(model.state_dict(), assign=True)
    skeleton.tie_weights()
    third = skeleton.generate(pixel_values=images, soft_temperature=0.5)
    torch.testing.assert_close(first.predicted_depth, third.predicted_depth, rtol=1e-5, atol=1e-6)


def test_bf16_keeps_the_codebook_in_float32(model, images, tmp_path):
    model.save_pretrained(tmp_path)
    half = AiTForDepthEstimation.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.lm_head.weight.dtype == torch.bfloat16
    quantizer = half.tokenizers["depth"].quantizer
    assert {tensor.dtype for tensor in quantizer.state_dict().values()} == {torch.float32}
    assert torch.equal(quantizer.embedding.weight, model.tokenizers["depth"].quantizer.embedding.weight)
    outputs = half(images.to(torch.bfloat16))
    assert outputs.predicted_depth.dtype == torch.float32 and outputs.predicted_depth.isfinite().all()


def test_eager_and_sdpa_agree(images):
    torch.manual_seed(0)
    model = AiTForDenseTokenGeneration(tiny_config()).eval()
    first = model.generate(pixel_values=images).soft_tokens
    model.set_attn_implementation("eager")
    eager = model.generate(pixel_values=images, output_attentions=True)
    torch.testing.assert_close(first, eager.soft_tokens, rtol=1e-4, atol=1e-6)
    assert eager.decoder_attentions[0][0].shape == (3, 4, 1, 1)
    assert eager.cross_attentions[0][0].shape == (3, 4, 1, 9)


def test_training_uses_every_trainable_parameter_and_leaves_the_tokenizer_alone(images):
    torch.manual_seed(0)
    model = AiTForDepthEstimation(tiny_config(dropout=0.1, drop_path_rate=0.1)).train()
    before = {key: tensor.clone() for key, tensor in model.tokenizers.state_dict().items()}
    depth = torch.rand(3, 96, 96) * 5
    model(pixel_values=images, labels=depth).loss.backward()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert not any(name.startswith("tokenizers.") for name in trainable)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trainable.values())
    assert all(torch.equal(before[key], tensor) for key, tensor in model.tokenizers.state_dict().items())


def test_gradient_checkpointing_gives_the_same_gradients(images):
    torch.manual_seed(0)
    model = AiTForDepthEstimation(tiny_config()).train()
    depth = torch.rand(3, 96, 96) * 5

    def gradients():
        model.zero_grad()
        model(pixel_values=images, labels=depth).loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])

    plain = gradients()
    model.gradient_checkpointing_enable()
    torch.testing.assert_close(gradients(), plain, rtol=1e-4, atol=1e-6)


def test_any_autobackbone_works(images):
    from transformers import ResNetConfig

    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic", out_features=["stage4"]
    )
    model = AiTForDepthEstimation(tiny_config(backbone_config=backbone)).eval()
    assert model(images).predicted_depth.shape == (3, 96, 96)


def test_any_timm_backbone_works(images, tmp_path):
    from transformers import TimmBackboneConfig

    backbone = TimmBackboneConfig(backbone="resnet10t", use_pretrained_backbone=False, out_indices=[4])
    model = AiTForDepthEstimation(tiny_config(backbone_config=backbone)).eval()
    expected = model(images).predicted_depth
    model.save_pretrained(tmp_path)
    loaded = AiTForDepthEstimation.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(images).predicted_depth, expected, rtol=1e-5, atol=1e-6)


def test_padding_images_changes_nothing_but_the_memory_size(images):
    torch.manual_seed(0)
    config = tiny_config(pad_images_to=[128, 160])
    encoder = AiTModel(config).eval().encoder
    assert encoder(images).last_hidden_state.shape == (3, 4 * 5, 32)
    padded = nn.functional.pad(images, (0, 64, 0, 32))
    torch.testing.assert_close(encoder(images).last_hidden_state, encoder(padded).last_hidden_state)
    with pytest.raises(ValueError, match="larger than pad_images_to"):
        encoder(torch.rand(1, 3, 192, 96))


def test_tokenizer_weights_are_copied_or_refused(model):
    from ait_hf import VQTokenizer

    tokenizer = VQTokenizer(**model.config.tokenizers["depth"])
    model.load_tokenizer("depth", tokenizer)
    for key, tensor in tokenizer.state_dict().items():
        assert torch.equal(model.tokenizers["depth"].state_dict()[key], tensor)
    with pytest.raises(ValueError, match="does not fit"):
        model.load_tokenizer("depth", VQTokenizer(**(model.config.tokenizers["depth"] | {"vq_embed_dim": 8})))
    with pytest.raises(ValueError, match="has the tokenizers"):
        model.load_tokenizer("mask", tokenizer)


def test_bad_input_is_refused_in_one_sentence(model, images):
    with pytest.raises(ValueError, match="NaN"):
        model(images.masked_fill(images > 0.9, torch.nan))
    with pytest.raises(ValueError, match="takes images of 96x96"):
        model(torch.rand(1, 3, 64, 96))
    with pytest.raises(ValueError, match="Unknown task 'pose'"):
        model.generate(pixel_values=images, task="pose")
    with pytest.raises(ValueError, match=r"must be of shape \(batch, 96, 96\)"):
        model(images, labels=torch.rand(3, 48, 48))
    with pytest.raises(ValueError, match="beam search"):
        model.generate(pixel_values=images, num_beams=3)
    with pytest.raises(ValueError, match="vocabulary"):
        model.resize_token_embeddings(200)
    with pytest.raises(ValueError, match="Give pixel_values"):
        model.model()


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path, model):
    from transformers import ResNetConfig, ResNetModel

    other = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic")
    ResNetModel(other).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="resnet"):
        AiTForDepthEstimation.from_pretrained(tmp_path / "other")
    model.save_pretrained(tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(Exception, match="(?i)header|incomplete|deserializ|truncated"):
        AiTForDepthEstimation.from_pretrained(tmp_path / "cut")


def test_mixed_grammar_lays_out_slots():
    grammar = TaskGrammar.from_config(mixed_config(parallel=True), "objects")
    assert grammar.length == 27 and grammar.codebook == "mask"
    assert [grammar.slot(p) for p in (0, 3, 4, 5, 8, 9)] == ["coordinate"] * 2 + [
        "class",
        "mask",
        "mask",
        "coordinate",
    ]
    assert [grammar.block_length(p, 27) for p in (0, 4, 5, 9, 23)] == [1, 1, 5, 1, 4]
    tokens = torch.arange(27)[None]
    parallel = grammar.vocabulary.parallel_token_id
    inputs = grammar.decoder_input_ids(tokens)[0].tolist()
    assert inputs[:10] == [grammar.start_token_id, 0, 1, 2, 3, 4, parallel, parallel, parallel, parallel]


def test_sine_coordinates_make_neighbours_alike_and_leave_the_rest_random():
    torch.manual_seed(0)
    model = AiTForDenseTokenGeneration(tiny_config(coordinate_initialization="sine", initializer_range=0.05))
    weight = model.model.decoder.embed_tokens.weight
    coordinates = torch.nn.functional.normalize(weight[:65], dim=1)
    similarity = coordinates @ coordinates.T
    assert (similarity.diagonal(1) > 0.5).all() and similarity.diagonal(1).min() > similarity.diagonal(8).max()
    assert model.lm_head.weight is weight
    torch.manual_seed(0)
    other = AiTForDenseTokenGeneration(tiny_config(initializer_range=0.05))
    assert torch.equal(other.model.decoder.embed_tokens.weight[65:], weight[65:])
    assert abs(weight[:65].std() - 0.05) < 0.01


def test_sine_coordinates_do_not_touch_loaded_weights(tmp_path):
    model = AiTForDenseTokenGeneration(tiny_config(coordinate_initialization="sine"))
    with torch.no_grad():
        model.model.decoder.embed_tokens.weight.fill_(0.5)
    model.save_pretrained(tmp_path)
    again = AiTForDenseTokenGeneration.from_pretrained(tmp_path)
    assert (again.model.decoder.embed_tokens.weight == 0.5).all()
