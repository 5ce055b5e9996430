// What the reader touches. `now` is what the page shows: the picture's pixels and name, the answer without the square,
// Paddle's answer where it is known, and all tensors of the last answer.
const BARS = 10, GRAY = 0.5, COLORS = ["red", "green", "blue"], MOVES = ["pointerdown", "pointermove"];
const $ = id => document.getElementById(id);
const page = JSON.parse($("network").textContent), network = {...page, operations: withNumbers(page)}, now = {loads: 0};
const percent = share => `${(share * 100).toFixed(2)}%`, short = number => number.toFixed(2).replace("-", "−");
const largest = values => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Colors, four numbers for each pixel, as a picture of its own that can be drawn enlarged.
function painted(colors, width) {
  const canvas = new OffscreenCanvas(width, colors.length / 4 / width);
  canvas.getContext("2d").putImageData(new ImageData(Uint8ClampedArray.from(colors), width), 0, 0);
  return canvas;
}

// The values of a map: white is `most`, black 0, orange -most.
const paintedMap = (values, width, most) => painted([...values].flatMap(value => {
  const part = Math.abs(value) / (most || 1) * 255;
  return value < 0 ? [part, part * 0.55, part * 0.1, 255] : [part, part, part, 255];
}), width);

function draw(canvas, picture, x = 0, y = 0, width = canvas.width, height = canvas.height) {
  Object.assign(canvas.getContext("2d"), {imageSmoothingEnabled: false}).drawImage(picture, x, y, width, height);
}

// A frame around places of a grid, yellow on black so that it shows on everything.
function frame(canvas, grid, left, top, width, height) {
  const pen = canvas.getContext("2d"), [x, y] = grid.map(places => canvas.width / places);
  for (const [color, line] of [["#000", 7], ["#ffd54a", 3]]) {
    Object.assign(pen, {strokeStyle: color, lineWidth: line});
    pen.strokeRect(left * x, top * y, width * x, height * y);
  }
}

// The picture as the network gets it: with the gray square, if there is one.
function covered() {
  const inside = (place, from) => place >= +$(from).value && place < +$(from).value + +$("size").value;
  return $("covered").checked ? now.pixels.map((value, i) =>
    inside(i % SIDE, "left") && inside(Math.floor(i / SIDE) % SIDE, "top") ? GRAY : value) : now.pixels;
}

function drawPicture(canvas) {
  const pixels = covered(), colors = [0, 1, 2].map(color => pixels.subarray(color * SIDE ** 2));
  draw(canvas, painted([...colors[0].subarray(0, SIDE ** 2)].flatMap(
    (_, i) => [...colors.map(values => values[i] * 255), 255]), SIDE));
}

// Run the network on what is on the page, soon and once: what moves on the page is drawn first.
function answer() {
  drawPicture($("picture"));
  now.soon ??= requestAnimationFrame(() => setTimeout(() => {
    const began = performance.now();
    now.soon = undefined;
    now.tensors = run(network, covered());
    showAnswer([...now.tensors[network.operations.at(-1).output].values], (performance.now() - began) / 1000);
    showLayer();
  }));
}

function showAnswer(probabilities, seconds) {
  const best = probabilities.indexOf(Math.max(...probabilities)), order = [...probabilities.keys()];
  if (order.length > BARS) order.sort((a, b) => probabilities[b] - probabilities[a]);
  if (!$("covered").checked) Object.assign(now, {whole: probabilities, shown: order.slice(0, BARS)});
  $("best").replaceChildren(make("strong", {textContent: page.classes[best]}), ` ${percent(probabilities[best])}`);
  $("bars").replaceChildren(...now.shown.map(i => {
    const bar = make("span", {className: "bar"}, make("i"), make("b"));
    bar.firstChild.style.width = percent(probabilities[i]);
    bar.lastChild.style.left = percent(now.whole[i]);
    return make("li", {className: i == best ? "best" : ""}, make("span", {textContent: page.classes[i]}), bar,
                make("span", {textContent: percent(probabilities[i])}));
  }));
  $("measured").textContent = `${now.name}, answered in ${seconds.toFixed(2)} s.`;
  if (now.answers && !$("covered").checked)
    $("measured").append(` Paddle says ${percent(now.answers[best])}; the largest difference of all classes is ` +
                         `${largest(probabilities.map((each, i) => each - now.answers[i])).toFixed(6)}.`);
}

// What is looked into: the layer's operation, how many maps of which size, what a place depends on, a map's values.
function looked() {
  const op = network.operations.find(op => op.output == document.querySelector("[name=layer]:checked").value);
  const {shape: [, maps, height = 1, width = 1], values, field} = now.tensors[op.output], places = height * width;
  return {op, maps, height, width, field, map: (i, count = 1) => values.subarray(i * places, (i + count) * places)};
}

function showLayer() {
  const {maps, height, width, map} = looked(), zoom = Math.max(1, Math.round(32 / width)), tile = width * zoom + 2;
  let columns = Math.ceil(Math.sqrt(maps));
  while (maps % columns) columns++;
  const rows = maps / columns, alone = width == 1;
  const canvas = Object.assign($("maps"), {columns, rows, width: columns * tile - 2, height: rows * tile - 2});
  for (let i = 0; i < maps; i++)
    draw(canvas, paintedMap(map(i), width, largest(alone ? map(0, maps) : map(i))), i % columns * tile,
         Math.floor(i / columns) * tile, width * zoom, height * zoom);
  const what = alone ? `${maps} numbers` : `${maps} maps of ${height} × ${width}`;
  $("about").textContent = `${what}; click one to enlarge it. Black is 0, orange is below 0, and the largest number ` +
    `of ${alone ? "all" : "each map"} is the brightest.`;
  showPlace();
}

// One map, one place of it, and what that depends on.
function showPlace() {
  const {op, maps, height, width, field, map} = looked();
  const [i, row, column] = [["number", maps], ["row", height], ["column", width]].map(([id, end]) => {
    Object.assign($(id), {max: end, value: Math.min(Math.max(Math.round($(id).value), 1), end)});
    return $(id).value - 1;
  });
  const value = map(i)[row * width + column];
  const [left, top] = [column, row].map(place => Math.max(field.first + field.step * place, 0));
  const [right, bottom] = [column, row].map(place => Math.min(field.first + field.step * place + field.size, SIDE));
  draw($("map"), paintedMap(map(i), width, largest(map(i))));
  frame($("map"), [width, height], column, row, 1, 1);
  drawPicture($("seen"));
  frame($("seen"), [SIDE, SIDE], left, top, right - left, bottom - top);
  const what = width > 1 ? "There the map" : maps == page.classes.length ? `“${page.classes[i]}”` : "The number";
  $("depends").textContent = `${what} is ${short(value)}. It depends on ` +
    `${bottom - top} × ${right - left} pixels: rows ${top + 1} to ${bottom}, columns ${left + 1} to ${right}.`;
  $("products").hidden = op.type != "convolution" || now.tensors[op.inputs[0]].field.size > 1;
  if (!$("products").hidden) showProducts(op, i, row * width + column, value);
}

// Of a convolution that reads the picture, the products and their sum.
function showProducts(op, kernel, place, value) {
  const area = op.size ** 2, length = 3 * area, weights = op.kernels.subarray(kernel * length, (kernel + 1) * length);
  const pixels = patches(now.tensors[op.inputs[0]], op).subarray(place * length), bias = op.bias ? op.bias[kernel] : 0;
  const cell = i => make("span", {textContent: `${short(pixels[i])} × ${short(weights[i])}`},
                         make("b", {textContent: `= ${short(pixels[i] * weights[i])}`}));
  $("tables").replaceChildren(...COLORS.map((color, k) => {
    const cells = make("div", {className: color}, ...Array.from({length: area}, (_, i) => cell(k * area + i)));
    cells.style.gridTemplateColumns = `repeat(${op.size}, auto)`;
    return make("div", {}, make("h4", {textContent: color}), cells);
  }));
  $("total").textContent = `The ${length} products add up to ${short(value - bias)}. With the kernel’s bias, ` +
    `${short(bias)}, that is ${short(value)}: the number in the frame.`;
}

// Show a picture from anywhere. The last one counts, whichever is decoded first.
async function load(source, name, answers) {
  const number = ++now.loads, pixels = await read(source, name).catch(error => error);
  if (number != now.loads) return;
  $("problem").textContent = pixels instanceof Error ? pixels.message : "";
  if (pixels instanceof Error) return;
  Object.assign(now, {pixels, name, answers});
  $("covered").checked = false;
  answer();
}

function loadFirst([file]) {
  if (file) load(file, file.name);
  else $("problem").textContent = "That was no file: save the picture first, then choose it.";
}

// When the mouse or a finger is on a canvas: its column and row there in a grid, counted from 1.
function follow(id, types, grid, rule) {
  for (const type of types) $(id).addEventListener(type, ({offsetX, offsetY}) => {
    const [columns, rows] = grid(), {clientWidth, clientHeight} = $(id);
    rule(Math.floor(offsetX / clientWidth * columns) + 1, Math.floor(offsetY / clientHeight * rows) + 1);
  });
}

const set = (values, show) => { for (const id in values) $(id).value = values[id]; show(); };

for (const {name, data, answers} of page.pictures)
  $(name).onclick = () => load(new Blob([decoded(data)], {type: "image/png"}), `${name}.png`, answers);
addEventListener("paste", event => loadFirst(event.clipboardData.files));
addEventListener("dragover", event => event.preventDefault());
addEventListener("drop", event => { event.preventDefault(); loadFirst(event.dataTransfer.files); });
addEventListener("error", event => { $("problem").textContent = `This browser cannot run it: ${event.message}.`; });
$("file").onclick = () => { $("file").value = ""; };  // so that the same file can be chosen again
$("file").onchange = () => loadFirst($("file").files);
$("photograph").hidden = !navigator.mediaDevices;
$("photograph").onclick = () => navigator.mediaDevices.getUserMedia({video: true}).then(stream => {
  $("video").srcObject = stream;
  $("camera").showModal();
}, error => $("problem").textContent = `The camera cannot be used: ${error.message}.`);
$("video").onemptied = $("video").ontimeupdate = () => { $("shoot").disabled = !$("video").currentTime; };
$("shoot").onclick = () => load($("video"), "Your photograph").then(() => $("camera").close());
$("camera").onclose = () => $("video").srcObject.getTracks().forEach(track => track.stop());
$("square").oninput = answer;
$("where").onchange = showPlace;
$("layers").onchange = showLayer;
follow("picture", MOVES, () => [SIDE, SIDE], (x, y) => {
  const half = Math.floor($("size").value / 2);
  if ($("covered").checked) set({left: x - 1 - half, top: y - 1 - half}, answer);
});
follow("map", MOVES, () => [looked().width, looked().height], (column, row) => set({row, column}, showPlace));
follow("maps", ["click"], () => [$("maps").columns, $("maps").rows],
       (x, y) => set({number: (y - 1) * $("maps").columns + x}, showPlace));
$("dog").click();
