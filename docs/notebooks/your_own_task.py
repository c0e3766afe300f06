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
# # Your own task in minutes
#
# Anything that gives every pixel a number, or several, is a task: heat, height, flow, reflectance. It takes pictures with maps beside
# them, and two trainings: a **tokenizer**, which learns to write maps as codes, and a **model**, which learns to write the codes of the
# map that belongs to a picture.
#
# Here the task is *surface normals*: which way every surface faces, three numbers a pixel. The data are rendered rooms, written to a
# folder as yours would lie there. Both trainings are cut to seconds so that this notebook is done in a minute; take the ten times longer
# ones for something that is worth looking at. It needs `pip install "ait-hf[demo]"`.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModel

import ait_hf
from ait_hf.data.rooms.depth import render_room
from ait_hf.recipes.parsing import load_recipe
from ait_hf.training.solver import SolverRecipe, train_solver
from ait_hf.training.tokenizer import TokenizerRecipe, train_tokenizer


TOKENIZER_STEPS, MODEL_STEPS = 120, 100  # 1200 each are better, and take some minutes
work = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Data
#
# A folder for each split, with `images/NAME.png` and `maps/NAME.npy` (height, width, channels). A pixel is unknown where all channels
# are 0.

# %%
for split, seeds in {"train": range(160), "val": range(1000, 1016)}.items():
    for part in ("images", "maps"):
        (work / "data" / split / part).mkdir(parents=True)
    for seed in seeds:
        room = render_room(seed, (64, 64), normals=True, sensor=False)
        Image.fromarray(room["image"]).save(work / f"data/{split}/images/{seed}.png")
        np.save(work / f"data/{split}/maps/{seed}.npy", room["normals"])
print(sum(1 for _ in work.rglob("*.npy")), "maps")

# %% [markdown]
# ## The tokenizer
#
# A recipe says what the data are and what is trained. These are the settings that matter: 8 pixels a code and axis make 64 codes of a
# map of 64 pixels, out of a codebook of 128.

# %%
data = f"""
  name: map_folder
  path: {work}/data
  unit: unit_vector
  num_channels: 3
"""
(work / "tokenizer.yaml").write_text(f"""
output_dir: {work}/tokenizer
data: {data}
  batch_size: 16
  transform: {{crop_size: 64, color_p: 0.0}}
model:
  config: {{loss_type: masked_mse, downsample_ratio: 8, base_channels: 8, num_vq_embeddings: 128, vq_embed_dim: 64,
    revival_threshold: 0.03}}
optimizer: {{name: adam, lr: 2e-3}}
schedule: {{name: one_cycle}}
train: {{max_steps: {TOKENIZER_STEPS}, max_grad_norm: 1.0, trackers: [], num_workers: 0}}
evaluation: {{split: val}}
""")
train_tokenizer(load_recipe(work / "tokenizer.yaml", TokenizerRecipe))

# %%
tokenizer = ait_hf.VQTokenizer.from_pretrained(work / "tokenizer").eval()
truth = torch.from_numpy(np.load(work / "data/val/maps/1000.npy")).permute(2, 0, 1)
with torch.no_grad():
    ids = tokenizer.tokenize(truth[None])
    rebuilt = tokenizer.detokenize(ids=ids)[0]
print(f"{ids.numel()} codes, {len(ids.unique())} different ones")

# %% [markdown]
# ## The model
#
# It need not learn to see from nothing: it starts from the backbone and the encoder of `rooms`, which has learnt other tasks on such
# pictures. Decoder and vocabulary are new.

# %%
rooms = AutoConfig.from_pretrained(ait_hf.pretrained("rooms"))
sizes = {name: getattr(rooms, name) for name in ("d_model", "encoder_layers", "num_heads", "ffn_dim")}
(work / "model.yaml").write_text(f"""
output_dir: {work}/model
tasks:
  normals:
    kind: map
    data: {data.replace(chr(10), chr(10) + "    ")}
      batch_size: 16
      transform: {{crop_size: 64, color_p: 0.5, normalize: false}}
    tokenizer: {work}/tokenizer
model:
  parallel: true
  initialize_from: rooms
  code_embeddings: waves
  config: {{num_coordinate_bins: 0, num_classes: 0, decoder_layers: 2, initializer_range: 0.08, dropout: 0.0,
    drop_path_rate: 0.0, max_position_embeddings: 65, {", ".join(f"{name}: {size}" for name, size in sizes.items())}}}
optimizer: {{name: adamw, lr: 1e-3, weight_decay: 0.05}}
schedule: {{name: one_cycle, rise: 0.1}}
train: {{max_steps: {MODEL_STEPS}, max_grad_norm: 1.0, trackers: [], num_workers: 0}}
evaluation: {{split: val}}
""")
train_solver(load_recipe(work / "model.yaml", SolverRecipe))

# %% [markdown]
# ## What it sees
#
# The folder of the model is as any other: `AutoModel` loads it, `ait evaluate`, `ait predict`, `ait export` and `ait push` take it.

# %%
model, processor = AutoModel.from_pretrained(work / "model"), AutoImageProcessor.from_pretrained(work / "model")
image = Image.open(work / "data/val/images/1000.png")
outputs = model.generate(**processor(image, return_tensors="pt"), task="normals")
(result,) = processor.post_process_dense_prediction(outputs, target_sizes=[(image.height, image.width)])

# %%
pictures = {"image": np.asarray(image)}
for name, normals in {"truth": truth, "rebuilt from codes": rebuilt, "prediction": result["predicted_map"]}.items():
    pictures[name] = ((normals.permute(1, 2, 0).numpy() + 1) / 2).clip(0, 1)
pictures["uncertainty"] = result["uncertainty"].numpy()
figure, axes = plt.subplots(1, len(pictures), figsize=(15, 3.2), layout="constrained")
for axis, (name, picture) in zip(axes, pictures.items()):
    axis.imshow(picture)
    axis.set_title(name)
    axis.axis("off")
plt.show()


# %%
def angle(first, second):
    """Between two maps of directions (3, height, width), mean, degrees."""
    return torch.rad2deg(torch.cosine_similarity(first, second, dim=0).clamp(-1, 1).arccos()).mean().item()


flat = truth.mean(dim=(1, 2), keepdim=True).expand_as(truth)
print(
    f"{angle(result['predicted_map'], truth):.0f} degrees off; the mean direction everywhere: {angle(flat, truth):.0f}"
)

# %% [markdown]
# For your own data, change the folder, `unit` (any word) and `num_channels`, and give both trainings more steps. Everything about
# it, from 8-bit pictures as maps to data sets of the Hub, is in
# [A task of your own](../new_task.md). Instead of Python, `ait train tokenizer.yaml` and `ait train model.yaml` do the same.
