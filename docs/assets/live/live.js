// Copyright 2026 The ait_hf authors.
// SPDX-License-Identifier: Apache-2.0
// Depth of a picture by the exported model, in the reader's browser. docs/building/live_model.py makes what lies in built/.

const BUILT = new URL("./built/", import.meta.url).href;
const byId = (id) => document.getElementById(id);
const fetchJson = async (name) => (await fetch(BUILT + name)).json();

async function load() {
  const [ort, config, colors] = await Promise.all([
    import(`${BUILT}ort.wasm.bundle.min.mjs`),
    fetchJson("model/preprocessor_config.json"),
    fetchJson("colors.json"),
  ]);
  ort.env.wasm.numThreads = 1; // more need headers that a plain server does not send
  const session = await ort.InferenceSession.create(`${BUILT}model/model.onnx`, {
    executionProviders: ["wasm"],
    externalData: [{ path: "model.onnx.data", data: `${BUILT}model/model.onnx.data` }],
    extra: { optimization: { disable_specified_optimizers: "ConstantFolding" } }, // which would take seconds
  });
  return { ort, session, config, colors };
}

// What the image processor makes of a picture: (1, 3, height, width), as its preprocessor_config.json says.
function prepare(pixels, config) {
  const { height, width } = config.size;
  const area = height * width;
  const resized = resize(pixels, height, width);
  const [mean, std] = config.do_normalize ? [config.image_mean, config.image_std] : [[0, 0, 0], [1, 1, 1]];
  return Float32Array.from({ length: 3 * area }, (_, index) => {
    const channel = Math.floor(index / area);
    return (resized[3 * (index % area) + channel] * config.rescale_factor - mean[channel]) / std[channel];
  });
}

// Bilinear and antialiased, first along rows, then along columns, each rounded (by the clamped arrays): as Pillow and
// torchvision do. From (height, width, 4) to (newHeight, newWidth, 3).
function resize({ data, height, width }, newHeight, newWidth) {
  const rows = new Uint8ClampedArray(3 * height * newWidth);
  const columnTaps = taps(width, newWidth);
  for (let y = 0; y < height; y++)
    columnTaps.forEach(({ first, weights }, x) => {
      for (let channel = 0; channel < 3; channel++) {
        const mix = (sum, weight, tap) => sum + weight * data[4 * (y * width + first + tap) + channel];
        rows[3 * (y * newWidth + x) + channel] = weights.reduce(mix, 0);
      }
    });
  const resized = new Uint8ClampedArray(3 * newHeight * newWidth);
  taps(height, newHeight).forEach(({ first, weights }, y) => {
    for (let place = 0; place < 3 * newWidth; place++) {
      const mix = (sum, weight, tap) => sum + weight * rows[3 * (first + tap) * newWidth + place];
      resized[3 * y * newWidth + place] = weights.reduce(mix, 0);
    }
  });
  return resized;
}

// For each pixel of the new side: the first pixel of the old one that it is made of, and the weights of this and the next ones.
function taps(side, newSide) {
  const scale = side / newSide;
  const reach = Math.max(scale, 1);
  return Array.from({ length: newSide }, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(0, Math.floor(center - reach + 0.5));
    const end = Math.min(side, Math.floor(center + reach + 0.5));
    const weights = Array.from({ length: end - first }, (_, tap) =>
      Math.max(0, 1 - Math.abs(first + tap + 0.5 - center) / reach),
    );
    const total = weights.reduce((sum, weight) => sum + weight);
    return { first, weights: weights.map((weight) => weight / total) };
  });
}

// Values (height, width) in a table of 256 colours, in the shape of the photograph.
function draw(canvas, values, { height, width }, [low, high], colors, photograph) {
  canvas.width = width;
  canvas.height = height;
  const picture = new ImageData(width, height);
  values.forEach((value, place) => {
    const shade = Math.max(0, Math.min(255, Math.floor((256 * (value - low)) / (high - low))));
    picture.data.set([...colors[shade], 255], 4 * place);
  });
  canvas.getContext("2d").putImageData(picture, 0, 0);
  canvas.style.aspectRatio = `${photograph.width} / ${photograph.height}`;
}

async function predict(source) {
  const said = byId("live-said");
  try {
    const photograph = byId("live-photograph");
    const bitmap = await createImageBitmap(source);
    [photograph.width, photograph.height] = [bitmap.width, bitmap.height];
    const context = photograph.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    said.textContent = "Loading the model …";
    loading ??= load().catch((error) => {
      loading = undefined; // the next picture tries again
      throw error;
    });
    const { ort, session, config, colors } = await loading;
    const start = performance.now();
    const pixels = context.getImageData(0, 0, photograph.width, photograph.height);
    const input = new ort.Tensor("float32", prepare(pixels, config), [1, 3, config.size.height, config.size.width]);
    const output = await session.run({ pixel_values: input });
    const elapsed = performance.now() - start;
    const [, height, width] = output.predicted_depth.dims;
    const depth = output.predicted_depth.data;
    const range = [Math.min(...depth), Math.max(...depth)];
    draw(byId("live-depth"), depth, { height, width }, range, colors.depth, photograph);
    draw(byId("live-uncertainty"), output.uncertainty.data, { height, width }, [0, 1], colors.uncertainty, photograph);
    const [low, high] = range.map((metres) => metres.toFixed(2));
    said.textContent = `From ${low} to ${high} metres, in ${elapsed.toFixed(0)} ms on your machine.`;
    shown = { depth, height, width };
  } catch (error) {
    said.textContent = `That did not work: ${error.message}`;
  }
}

function point(event) {
  if (!shown) return;
  const place = event.currentTarget.getBoundingClientRect();
  const x = Math.min(shown.width - 1, Math.floor(((event.clientX - place.left) / place.width) * shown.width));
  const y = Math.min(shown.height - 1, Math.floor(((event.clientY - place.top) / place.height) * shown.height));
  byId("live-point").textContent = `${shown.depth[y * shown.width + x].toFixed(2)} m`;
}

let loading; // the promise of the model, from the first picture on
export let shown; // the last depth, metres, with its height and width
let turn = Promise.resolve();
const predictInTurn = (source) => (turn = turn.then(() => predict(source)));

byId("live-file").addEventListener("change", (event) => event.target.files.length && predictInTurn(event.target.files[0]));
for (const image of document.querySelectorAll("#live-examples img"))
  image.parentElement.addEventListener("click", () => predictInTurn(image));
for (const kind of ["pointerdown", "pointermove"]) byId("live-depth").addEventListener(kind, point);
