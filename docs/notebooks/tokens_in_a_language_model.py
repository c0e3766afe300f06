# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Tokens in a vision-language model
#
# PaliGemma answers `segment cat` with `<loc0152><loc0318><loc0780><loc0818><seg049>...`: the edges of a box, then 16 codes of the
# mask tokenizer of *All in Tokens*. Any language model can learn such words. This notebook does it from end to end with a very small
# one: masks to text, the new words in its vocabulary, a short training, answers kept to the format, and soft decoding, which PaliGemma
# itself does without.
#
# It needs `pip install "ait-hf[demo]"` and under a minute of any computer. The mask tokenizer is that of `rooms`, which comes with the
# package; the published weights of PaliGemma load in the same way (`VQTokenizer.from_original`).

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from transformers import AutoModel, set_seed

import ait_hf
from ait_hf.commands.demo_tokens import build_model, build_processor, visible_classes
from ait_hf.data.rooms.depth import render_room
from ait_hf.data.rooms.rendering import LABEL_CLASSES
from ait_hf.tokens import (
    AiTTokenProcessor,
    TokenFormatLogitsProcessor,
    add_tokens,
    decode_answers,
    get_preset,
    soft_decode,
)


set_seed(0)
NUM_ROOMS, STEPS = 3, 40  # enough to learn a few rooms by heart; `ait demo tokens` trains on thousands
tokenizer = AutoModel.from_pretrained(ait_hf.pretrained("rooms")).tokenizers["mask"]

# %% [markdown]
# ## A mask as words
#
# The processor cuts the mask out of its box and brings it to the tokenizer's size, exactly as PaliGemma's authors do; the tokenizer
# gives codes; the format writes the text. Of the small tokenizer of `rooms`, four codes are a mask; PaliGemma's has 16.

# %%
grid = [side // tokenizer.config.downsample_ratio for side in tokenizer.map_size]
token_format = replace(get_preset("paligemma-mask").token_format, grid=tuple(grid))
longest = 4 + token_format.num_tokens + 2  # locations, codes, name and end
prepare = AiTTokenProcessor(convention="paligemma-mask", side=tokenizer.map_size[0])


def as_text(mask, name):
    inputs = prepare(mask)
    return token_format.to_text(tokenizer.tokenize(inputs.pixel_values), inputs.locations, [name])


lessons = []
for seed in range(NUM_ROOMS):
    room = render_room(seed, (64, 64))
    for name in visible_classes(room)[:2]:
        mask = room["label_map"] == LABEL_CLASSES.index(name)
        lessons.append(
            {"image": room["image"], "prompt": f"segment {name}", "answer": as_text(mask, name), "mask": mask}
        )
print(lessons[0]["prompt"], "->", lessons[0]["answer"])

# %% [markdown]
# And back: `decode_answers` reads text, also such that is broken, which it reports.

# %%
(objects,) = decode_answers([lessons[0]["answer"]], [(64, 64)], tokenizer, token_format=token_format)
(broken,) = decode_answers([lessons[0]["answer"][:-20]], [(64, 64)], tokenizer, token_format=token_format)
overlap = (objects[0]["mask"] & lessons[0]["mask"]).sum() / (objects[0]["mask"] | lessons[0]["mask"]).sum()
print(f"label {objects[0]['label']}, box {objects[0]['box']}, {overlap:.2f} of the mask comes back")
print("cut off:", broken[0]["damage"])

# %% [markdown]
# ## New words for a model
#
# An untrained FastVLM of transformers: a small ResNet, three layers of a Qwen2, a vocabulary of a few words. `add_tokens` makes the codes
# and locations words of it. Their embeddings begin as a projection of the codebook, so that codes that look alike begin alike.

# %%
processor, model = build_processor(), build_model()
before = len(processor.tokenizer)
vocabulary = add_tokens(processor.tokenizer, model, token_format, tokenizer)
print(f"{before} words became {len(processor.tokenizer)}; {sum(p.numel() for p in model.parameters()):,} parameters")


# %%
def batch_of(lessons):
    """Inputs and labels: only what is answered is learnt."""
    answers = [lesson["answer"] + processor.tokenizer.eos_token for lesson in lessons]
    text = [f"<image>{lesson['prompt']} {answer}" for lesson, answer in zip(lessons, answers)]
    images = [lesson["image"] for lesson in lessons]
    batch = processor(images=images, text=text, return_tensors="pt", padding=True, padding_side="right")
    labels = torch.full_like(batch["input_ids"], -100)
    for row, answer in enumerate(answers):
        length, stop = len(processor.tokenizer(answer).input_ids), int(batch["attention_mask"][row].sum())
        labels[row, stop - length : stop] = batch["input_ids"][row, stop - length : stop]
    return batch | {"labels": labels}


batch = batch_of(lessons)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
losses = []
model.train()
for _ in range(STEPS):
    loss = model(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
model.eval()
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")

# %% [markdown]
# ## Answers
#
# `TokenFormatLogitsProcessor` lets the model write whole blocks only: four locations, the codes, a name. Without it, a model that is
# not sure may stop in the middle.

# %%
lesson = lessons[0]
inputs = processor(images=[lesson["image"]], text=[f"<image>{lesson['prompt']}"], return_tensors="pt")
length = inputs["input_ids"].shape[1]
with torch.no_grad():
    outputs = model.generate(
        **inputs,
        max_new_tokens=longest,
        do_sample=False,
        logits_processor=[
            TokenFormatLogitsProcessor([vocabulary], max_blocks=1, prompt_length=length, max_length=length + longest)
        ],
        output_logits=True,
        return_dict_in_generate=True,
    )
answer = outputs.sequences[:, length:]
print(processor.tokenizer.decode(answer[0]))

# %% [markdown]
# ## Soft decoding
#
# The answer has one code in every place, but the model had a probability for each of the 128. `soft_decode` weighs them all.

# %%
decoded = soft_decode(outputs.logits, vocabulary, tokenizer, sequences=answer)
blocks = vocabulary.parse(answer[0])
with torch.no_grad():
    hard = tokenizer.detokenize(ids=torch.stack([block.ids for block in blocks]))
locations = [block.locations for block in blocks]
masks = {
    "hard": prepare.post_process_masks(hard, locations, [(64, 64)])[0],
    "soft": prepare.post_process_masks(decoded.sample, locations, [(64, 64)])[0],
}
figure, axes = plt.subplots(1, 5, figsize=(15, 3.2), layout="constrained")
pictures = {"image": lesson["image"], lesson["prompt"]: lesson["mask"], **masks, "uncertainty": decoded.uncertainty[0]}
for axis, (name, picture) in zip(axes, pictures.items()):
    axis.imshow(np.asarray(picture).squeeze())
    axis.set_title(name)
    axis.axis("off")
plt.show()

# %% [markdown]
# What next: `ait demo tokens` trains this model on rooms it has to understand rather than remember, and measures it;
# `ait tokens encode` writes the training data of PaliGemma from COCO's annotations.
