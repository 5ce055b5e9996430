"use strict";
// The network is a list of operations, each of which makes a tensor from others. A tensor has a shape, [pictures, maps,
// height, width] or [pictures, numbers], its values, row by row, and a field: the pixels of the picture that a place
// depends on. Those of place i begin at pixel first + step * i and are `size` many, across as well as down.
const product = numbers => numbers.reduce((a, b) => a * b, 1);
const sum = numbers => numbers.reduce((a, b) => a + b, 0);
const tensor = (shape, field, values = new Float32Array(product(shape))) => ({shape, field, values});
const each = (x, rule) => tensor(x.shape, x.field, x.values.map(rule));

// A number of 16 bits: a sign, 5 bits of exponent, 10 of fraction.
function fromHalf(bits) {
  const exponent = bits >> 10 & 31, fraction = bits & 1023;
  return (bits >> 15 ? -1 : 1) * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
}

function decoded(base64) {
  const letters = atob(base64), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes.buffer;
}

// The operations with their arrays, which are parts of the two long ones that the page holds.
function withNumbers({operations, numbers}) {
  const arrays = {float32: new Float32Array(decoded(numbers.float32)),
                  float16: Float32Array.from(new Uint16Array(decoded(numbers.float16)), fromHalf)};
  const part = ({kind, at, size}) => arrays[kind].subarray(at, at + size);
  return operations.map(op => Object.fromEntries(Object.entries(op).map(
    ([name, value]) => [name, value.kind ? part(value) : value])));
}

// A window of size x size moves over a tensor: how often it fits, and what each of its places depends on.
function moved({shape: [pictures, maps, height, width], field}, {size, stride, padding}) {
  const fits = length => Math.floor((length + 2 * padding - size) / stride) + 1;
  return {shape: [pictures, maps, fits(height), fits(width)],
          field: {first: field.first - padding * field.step, step: stride * field.step,
                  size: field.size + (size - 1) * field.step}};
}

// The numbers under the window at each of its places, a row for each: maps x size x size; `outside` is beyond the edge.
function patches({shape, field, values}, op, outside = 0) {
  const {size, stride, padding} = op, [pictures, maps, height, width] = shape;
  const [, , down, across] = moved({shape, field}, op).shape;
  const rows = new Float32Array(pictures * down * across * maps * size * size);
  let at = 0;
  for (let picture = 0; picture < pictures; picture++)
    for (let top = -padding; top <= (down - 1) * stride - padding; top += stride)
      for (let left = -padding; left <= (across - 1) * stride - padding; left += stride)
        for (let map = 0; map < maps; map++)
          for (let y = top; y < top + size; y++)
            for (let x = left; x < left + size; x++)
              rows[at++] = y < 0 || y >= height || x < 0 || x >= width ? outside
                : values[((picture * maps + map) * height + y) * width + x];
  return rows;
}

// A convolution is products and their sum: the numbers under a kernel times its weights, added up, plus its bias. Four
// kernels at a time, so that each number that is read is used four times.
function convolve(rows, {kernels, bias, count}, out) {
  const length = kernels.length / count, [pictures, , down = 1, across = 1] = out.shape, places = down * across;
  for (let kernel = 0; kernel < count; kernel += 4) {
    const [k0, k1, k2, k3] = [0, 1, 2, 3].map(k => Math.min(kernel + k, count - 1) * length);
    for (let row = 0; row < pictures * places; row++) {
      const start = row * length, to = (Math.floor(row / places) * count + kernel) * places + row % places;
      let sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
      for (let i = 0; i < length; i++) {
        const number = rows[start + i];
        sum0 += number * kernels[k0 + i];
        sum1 += number * kernels[k1 + i];
        sum2 += number * kernels[k2 + i];
        sum3 += number * kernels[k3 + i];
      }
      [sum0, sum1, sum2, sum3].slice(0, count - kernel).forEach((total, k) =>
        out.values[to + k * places] = total + (bias ? bias[kernel + k] : 0));
    }
  }
  return out;
}

// The error function by formula 7.1.26 of Abramowitz and Stegun, 1964, right to 1.5e-7.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const rest = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - rest * Math.exp(-x * x));
}

// What is made of several tensors depends on all that any of them depends on.
function together(tensors) {
  const fields = tensors.map(x => x.field), first = Math.min(...fields.map(field => field.first));
  return {first, step: fields[0].step, size: Math.max(...fields.map(field => field.first + field.size)) - first};
}

// What each type of operation does: (operation, its inputs ...) -> a tensor.
const rules = {
  convolution(op, x) {
    const {shape: [pictures, , ...size], field} = moved(x, op);
    return convolve(patches(x, op), op, tensor([pictures, op.count, ...size], field));
  },
  connected(op, x) {  // fully connected: a kernel that covers all there is
    const {first, step, size} = x.field, field = {first, step, size: size + ((x.shape[2] || 1) - 1) * step};
    return convolve(x.values, op, tensor([x.shape[0], op.count], field));
  },
  normalize({factor, shift}, x) {
    const places = product(x.shape.slice(2)), map = i => Math.floor(i / places) % x.shape[1];
    return each(x, (value, i) => value * factor[map(i)] + shift[map(i)]);
  },
  relu: (op, x) => each(x, value => Math.max(value, 0)),
  gelu: (op, x) => each(x, value => value * (1 + erf(value / Math.SQRT2)) / 2),
  scale: ({factor}, x) => each(x, value => value * factor),
  add: (op, x, y) => tensor(x.shape, together([x, y]), x.values.map((value, i) => value + y.values[i])),
  pool(op, x) {
    const {shape, field} = moved(x, op), [pictures, maps, ...size] = x.shape, area = op.size ** 2;
    const rows = patches({...x, shape: [pictures * maps, 1, ...size]}, op, NaN), out = tensor(shape, field);
    return each(out, (_, i) => {
      const inside = rows.subarray(i * area, (i + 1) * area).filter(value => !isNaN(value));
      return op.mean ? sum(inside) / inside.length : Math.max(...inside);
    });
  },
  join(op, ...parts) {  // all maps of the first picture, then all of the second
    const [pictures, , ...size] = parts[0].shape, out = [];
    for (let picture = 0; picture < pictures; picture++)
      for (const {shape, values} of parts)
        out.push(...values.subarray(product(shape.slice(1)) * picture, product(shape.slice(1)) * (picture + 1)));
    return tensor([pictures, sum(parts.map(part => part.shape[1])), ...size], together(parts), Float32Array.from(out));
  },
  softmax(op, x) {
    const count = x.shape[1], most = Math.max(...x.values), powers = each(x, value => Math.exp(value - most));
    return each(powers, (power, i) => power / sum(powers.values.subarray(i - i % count, i - i % count + count)));
  },
  mirrored(op, {shape: [, ...size], field, values}) {  // the picture, then its mirror image
    const width = size[2], mirror = values.map((_, i) => values[i - i % width + width - 1 - i % width]);
    return tensor([2, ...size], field, Float32Array.from([...values, ...mirror]));
  },
  agreed({exponent}, {shape: [pictures, classes], field, values}) {  // the mean, after both were made more or less sure
    const powers = values.map(value => value ** exponent), out = tensor([1, classes], field);
    powers.forEach((power, i) => {
      const row = powers.subarray(i - i % classes, i - i % classes + classes);
      out.values[i % classes] += power / sum(row) / pictures;
    });
    return out;
  },
};

// All tensors that the network makes of a picture, 3 x 32 x 32 numbers from 0 to 1: {name: tensor}.
function run(network, pixels) {
  const tensors = {[network.input]: tensor([1, 3, 32, 32], {first: 0, step: 1, size: 1}, pixels)};
  for (const op of network.operations)
    tensors[op.output] = rules[op.type](op, ...op.inputs.map(name => tensors[name]));
  return tensors;
}
