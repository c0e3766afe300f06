# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What tokenizers have in common: an encoder, a codebook and a decoder between dense outputs and grids of codes."""

from dataclasses import dataclass

import torch
import torch.nn as nn
from diffusers import ConfigMixin, ModelMixin
from diffusers.models.autoencoders.vae import AutoencoderMixin, DecoderOutput
from diffusers.models.autoencoders.vq_model import VQEncoderOutput
from diffusers.utils import BaseOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from transformers.utils.generic import maybe_autocast

from .quantization_ait import EMACodebook, QuantizerOutput, apply_temperature


@dataclass
class VQTokenizerOutput(BaseOutput):
    """Output of a tokenizer's forward; losses and perplexity are of shape `()`."""

    sample: torch.Tensor  # reconstruction, as `decode` gives it
    loss: torch.FloatTensor  # the sum of the next two
    reconstruction_loss: torch.FloatTensor  # see the method of that name
    commit_loss: torch.FloatTensor  # `commitment_cost` times the mean squared error between latents and codes
    indices: torch.LongTensor  # codes, (batch_size, rows, columns)
    perplexity: torch.FloatTensor  # of the code usage, see `QuantizerOutput`


class TokenizerBase(ModelMixin, AutoencoderMixin, ConfigMixin):
    """
    The verbs of [`VQTokenizer`] (maps) and [`PoseTokenizer`] (joints), which say what their samples are. Their codes
    always form a grid of rows and columns.
    """

    _keep_in_fp32_modules = ["quantizer"]
    _skip_layerwise_casting_patterns = ["quantizer"]
    _frozen = False

    tokenizer_type: str  # what a model's configuration calls it
    encoder: nn.Module
    quantizer: EMACodebook
    decoder: nn.Module

    def _network_input(self, x: torch.Tensor) -> torch.Tensor:
        """Checked samples as the encoder takes them; it gives latents `(batch_size, vq_embed_dim, rows, columns)`."""
        raise NotImplementedError

    def check_samples(self, x: torch.Tensor) -> None:
        """`ValueError` for values that cannot be encoded; a host that asks a GPU so waits for the answer."""

    def _from_network_range(self, y: torch.Tensor) -> torch.Tensor:
        """Output of the decoder in the config's unit."""
        raise NotImplementedError

    def reconstruction_loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.FloatTensor:
        """Scalar loss of the decoder's output, before it is brought into the config's unit."""
        raise NotImplementedError

    def num_targets(self, target: torch.Tensor) -> torch.FloatTensor:
        """How many values of `target` [`~TokenizerBase.reconstruction_loss`] is a mean over; float32, shape `()`."""
        raise NotImplementedError

    def freeze(self) -> "TokenizerBase":
        """
        Fixes the tokenizer for good, as inside a task-solver: no parameter has a gradient, and `train()`, also that of
        a surrounding model, leaves it in evaluation mode, so its codebook does not move. Gradients still pass through
        it to soft tokens. Returns `self`.
        """
        self._frozen = True
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> "TokenizerBase":
        return super().train(mode and not self._frozen)

    @apply_forward_hook
    def encode(
        self, x: torch.Tensor, return_dict: bool = True, validate: bool = True
    ) -> VQEncoderOutput | tuple[torch.Tensor]:
        """
        Samples `x` to `latents` `(batch_size, vq_embed_dim, rows, columns)`, before quantisation; `ValueError` if they
        are not what the class says. Without `validate` nobody looks at their values, which makes the host wait for a
        GPU: what is not valid then gives latents without meaning, or an error of the device.
        """
        network_input = self._network_input(x)
        if validate:
            self.check_samples(x)
        latents = self.encoder(network_input)
        return VQEncoderOutput(latents=latents) if return_dict else (latents,)

    @apply_forward_hook
    def decode(
        self, h: torch.Tensor, force_not_quantize: bool = False, return_dict: bool = True
    ) -> DecoderOutput | tuple[torch.Tensor, torch.Tensor]:
        """
        Latents `h` `(batch_size, vq_embed_dim, rows, columns)` to `sample`, see the class, and `commit_loss` `()`,
        weighted. With `force_not_quantize`, `h` itself is decoded, not its nearest codes, and the loss is 0.
        Quantising in training mode also moves the codebook.
        """
        commit_loss = h.new_zeros((), dtype=torch.float32)
        if not force_not_quantize:
            quantized = self._quantize(h)
            h, commit_loss = quantized.quantized, quantized.commit_loss
        sample = self._from_network_range(self.decoder(h.to(self.dtype)))
        return DecoderOutput(sample=sample, commit_loss=commit_loss) if return_dict else (sample, commit_loss)

    @torch.no_grad()
    def tokenize(self, x: torch.Tensor, validate: bool = True) -> torch.LongTensor:
        """
        Nearest codes `(batch_size, rows, columns)`, flattened in row-major order as in the token sequence, computed in
        the dtype of the weights whatever autocast says. Never moves the codebook. `x` and `validate` are as for
        [`~TokenizerBase.encode`]; `ValueError` also if `x` has NaN or infinite values.
        """
        with maybe_autocast(x.device.type, enabled=False):
            latents = self.encode(x, validate=validate).latents
            ids = self.quantizer.nearest(latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1]).float())
        return ids.view(latents.shape[0], *latents.shape[2:])

    @apply_forward_hook
    def detokenize(
        self,
        ids: torch.LongTensor | None = None,
        probabilities: torch.Tensor | None = None,
        temperature: float = 1.0,
        validate: bool = True,
    ) -> torch.Tensor:
        """
        Samples of codes or of soft tokens (AiT paper, Eq. 4), computed in the dtype of the weights whatever autocast
        says. Differentiable in `probabilities`, also when the tokenizer is frozen. Give one of the two. The
        result is as `sample` of [`~TokenizerBase.decode`]. `ValueError` if both or none of the two are
        given, a shape does not fit, an id is out of range, or the temperature is not positive or given for `ids`. Without
        `validate` nobody looks at the values of `ids`, as for [`~TokenizerBase.encode`].

        Args:
            ids (`torch.LongTensor` of shape `(batch_size, rows, columns)`, *optional*): Codes.
            probabilities (`torch.Tensor` of shape `(batch_size, rows, columns, num_vq_embeddings)`, *optional*):
                Distribution over the codes at every place, as the softmax of the logits gives it.
            temperature (`float`, *optional*, defaults to 1.0): `tau`: the codes are weighted by `softmax(tau *
                log(probabilities))`, see [`apply_temperature`]. Below 1 flattens; the released depth models use 0.8.
        """
        if (ids is None) == (probabilities is None):
            raise ValueError("detokenize takes either ids or probabilities: give exactly one of them.")
        num_codes = self.config.num_vq_embeddings
        if ids is not None:
            if temperature != 1:
                raise ValueError("A temperature has no meaning for ids; give probabilities instead.")
            if ids.ndim != 3:
                raise ValueError(f"ids must have shape (batch, height, width), got {tuple(ids.shape)}.")
            if validate and ((ids < 0) | (ids >= num_codes)).any():
                raise ValueError(f"ids must be 0 to {num_codes - 1}: the codebook has {num_codes} codes.")
            latents = self.quantizer.embedding(ids)
        else:
            shape = tuple(probabilities.shape)
            if len(shape) != 4 or shape[-1] != num_codes:
                raise ValueError(f"probabilities must have shape (batch, height, width, {num_codes}), got {shape}.")
            latents = self.quantizer.expected_embedding(apply_temperature(probabilities, temperature))
        with maybe_autocast(latents.device.type, enabled=False):
            return self.decode(latents.permute(0, 3, 1, 2), force_not_quantize=True).sample

    def forward(
        self, sample: torch.Tensor, target: torch.Tensor | None = None, return_dict: bool = True, validate: bool = True
    ) -> VQTokenizerOutput | tuple[torch.Tensor, ...]:
        """
        One reconstruction with its losses. In training mode it also moves the codebook, after using it (or once for
        several forwards, see [`EMACodebook.one_update`]).

        Args:
            sample (`torch.Tensor`), validate (`bool`): As for [`~TokenizerBase.encode`]; perhaps partly masked.
            target (`torch.Tensor`, *optional*): What to reconstruct, as `sample`, which it defaults to.
            return_dict (`bool`): Without, the values of [`VQTokenizerOutput`] are a tuple.
        """
        quantized = self._quantize(self.encode(sample, validate=validate).latents)
        prediction = self.decoder(quantized.quantized)
        reconstruction_loss = self.reconstruction_loss(prediction, sample if target is None else target)
        output = VQTokenizerOutput(
            sample=self._from_network_range(prediction),
            loss=reconstruction_loss + quantized.commit_loss,
            reconstruction_loss=reconstruction_loss,
            commit_loss=quantized.commit_loss,
            indices=quantized.indices,
            perplexity=quantized.perplexity,
        )
        return output if return_dict else output.to_tuple()

    @torch.no_grad()
    def init_codebook(self, *samples: torch.Tensor) -> None:
        """Places the codes on latents of these batches, see [`EMACodebook.init_from_latents`]."""
        self.quantizer.init_from_latents(*(self.encode(sample).latents for sample in samples))

    def init_output(self, *targets: torch.Tensor) -> None:
        """Starts the decoder from what these batches have in common, which it is to reconstruct; here there is nothing to do."""

    def _quantize(self, latents: torch.Tensor) -> QuantizerOutput:
        """As the codebook, with the weighted commitment loss."""
        output = self.quantizer(latents)
        output.commit_loss = self.config.commitment_cost * output.commit_loss
        return output


def check_codebook(num_vq_embeddings: int, ema_decay: float, revival_threshold: float) -> None:
    """`ValueError` if an argument of a codebook is out of its range."""
    if num_vq_embeddings < 2:
        raise ValueError(f"num_vq_embeddings must be at least 2, got {num_vq_embeddings}.")
    for name, share in {"ema_decay": ema_decay, "revival_threshold": revival_threshold}.items():
        if not 0 <= share < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {share}.")
