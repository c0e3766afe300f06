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
# # See with tokens
#
# A network that estimates depth usually puts out a number for every pixel. This one *writes*: a short sequence of codes, each standing
# for a patch of the depth map, and a small decoder turns the codes into metres. This notebook looks at the codes themselves: what the
# model is sure of, what its probabilities are good for, and what becomes of a map when you change one code.
#
# It needs `pip install "ait-hf[demo]"` and half a minute of any computer. The model, `rooms`, comes with the package and knows rendered
# rooms only.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

import ait_hf
from ait_hf.data.rooms.depth import render_room
from ait_hf.drawing.token_grid import token_grid


rooms = ait_hf.pretrained("rooms")
model = AutoModel.from_pretrained(rooms).eval()
processor = AutoImageProcessor.from_pretrained(rooms, subfolder="image_processors/depth")
print(sorted(model.config.tasks))


# %%
def show(**pictures):
    """Pictures side by side: photographs as they are, maps in colours with a scale."""
    figure, axes = plt.subplots(1, len(pictures), figsize=(3.4 * len(pictures), 3.2), layout="constrained")
    for axis, (name, picture) in zip(np.atleast_1d(axes), pictures.items()):
        shown = axis.imshow(picture)
        axis.set_title(name.replace("_", " "))
        axis.axis("off")
        if np.ndim(picture) == 2:
            figure.colorbar(shown, ax=axis, shrink=0.7)
    plt.show()


# %% [markdown]
# ## A room, and what the model writes of it
#
# The room is one that it has never seen. `generate()` gives the sequence: a token that names the task, then the codes.

# %%
room = render_room(8, (192, 192))
inputs = processor(Image.fromarray(room["image"]), return_tensors="pt")
outputs = model.generate(**inputs, task="depth")
rows, columns = model.config.tasks["depth"]["grid_size"]
codes = outputs.soft_tokens[0].argmax(-1).view(rows, columns)
print(f"{outputs.sequences.shape[1] - 1} codes of {outputs.soft_tokens.shape[-1]}, in {outputs.num_forwards} pass")


# %%
def metres(outputs):
    """The depth map at the size of the room's picture."""
    return processor.post_process_depth_estimation(outputs, [room["image"].shape[:2]])[0]["predicted_depth"].numpy()


depth = metres(outputs)
show(room=room["image"], the_codes=token_grid(codes.numpy()), depth_in_metres=depth, truth=room["depth_complete"])

# %% [markdown]
# ## Soft against hard
#
# Each code came with a probability of every other. **Hard** decoding takes the likeliest; **soft** decoding gives the decoder the mean of
# all codes, weighed by their probabilities. Where the model hesitates between "2 metres" and "3 metres", the mean says two and a half.

# %%
hard = metres(model.generate(**inputs, task="depth", soft_detokenizer=False))
truth = room["depth_complete"]
for name, prediction in (("hard", hard), ("soft", depth)):
    print(f"{name}: RMSE {np.sqrt(np.mean((prediction - truth) ** 2)):.3f} m")
show(hard=hard, soft=depth, difference=depth - hard)

# %% [markdown]
# One room proves nothing, and where a model is sure of its codes both say the same. Over a dozen:

# %%
errors, doubts, misses = {"hard": [], "soft": []}, [], []
for seed in range(100, 116):
    other = render_room(seed, (64, 64))
    seen = processor(Image.fromarray(other["image"]), return_tensors="pt")
    for name in errors:
        found = model.generate(**seen, task="depth", soft_detokenizer=name == "soft")
        missed = found.predicted_depth[0].numpy() - other["depth_complete"]
        errors[name].append(np.sqrt(np.mean(missed**2)))
    doubts.append(found.uncertainty[0].numpy())
    misses.append(missed)  # of the last, soft
print({name: f"{np.mean(values):.3f} m" for name, values in errors.items()})

# %% [markdown]
# ## Uncertainty
#
# How far apart the depths of the likely codes lie says, in metres, by how much the model may be off. It costs next to nothing, for the
# probabilities are there. In the sixteen rooms, from the fifth of the pixels that it is surest of to the fifth that it doubts most:

# %%
uncertainty = processor.post_process_depth_estimation(outputs, [room["image"].shape[:2]])[0]["uncertainty"].numpy()
error = np.abs(depth - truth)
show(room=room["image"], uncertainty=uncertainty, error_in_metres=error)
order = np.argsort(np.ravel(doubts))
for fifth in np.array_split(order, 5):
    said, was = np.ravel(doubts)[fifth].mean(), np.sqrt(np.mean(np.ravel(misses)[fifth] ** 2))
    print(f"said to be off by {said:.2f} m, off by {was:.2f} m")

# %% [markdown]
# ## Swap a code
#
# The codebook is a table of vectors; codes that lie near each other decode alike. Take the code in the middle, look for its nearest
# and its farthest relative, and decode the map anew. What changes is about the patch of the code, for the decoder sees its neighbours too.

# %%
tokenizer = model.tokenizers["depth"]
codebook = tokenizer.quantizer.embedding.weight
place = (rows // 2, columns // 2)
distances = (codebook - codebook[codes[place]]).norm(dim=1)
order = distances.argsort()
nearest, farthest = order[1], order[-1]
print(
    f"code {codes[place]}: nearest {nearest} ({distances[nearest]:.2f}), farthest {farthest} ({distances[farthest]:.2f})"
)


# %%
def with_code(code):
    """The map, with another code in that place."""
    changed = codes.clone()
    changed[place] = code
    with torch.no_grad():
        return tokenizer.detokenize(ids=changed[None])[0, 0].numpy()


original = with_code(codes[place])
show(
    as_written=original,
    nearest=with_code(nearest) - original,
    farthest=with_code(farthest) - original,
)

# %% [markdown]
# ## The other tasks
#
# Objects, their masks and the classes of pixels are written by the same decoder, from the same vocabulary.

# %%
of_objects = AutoImageProcessor.from_pretrained(rooms, subfolder="image_processors/instance-segmentation")
inputs = of_objects(Image.fromarray(room["image"]), return_tensors="pt")
objects = model.generate(**inputs, task="instance-segmentation")
size = room["image"].shape[:2]
(found,) = of_objects.post_process_instance_segmentation(objects, threshold=0.3, target_sizes=[size])
for segment in found["segments_info"]:
    pixels = (found["segmentation"] == segment["id"]).sum()
    print(f"{model.config.id2label[segment['label_id']]}: {segment['score']:.2f}, {pixels} pixels")
show(room=room["image"], segments=found["segmentation"].numpy())

# %% [markdown]
# What next: *Your own task in minutes*, or *Tokens in a vision-language model*, beside this notebook.
